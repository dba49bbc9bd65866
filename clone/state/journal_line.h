/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One entry of a journal as a line of text: private to the room. */
#ifndef CLONE_STATE_JOURNAL_LINE_H
#define CLONE_STATE_JOURNAL_LINE_H

#include "clone/state/journal.h"

/* JSON and a newline. -EILSEQ: a name is not UTF-8. Caller frees. */
int journal_line(const struct journal_entry *entry, char **ret_line);

#endif
