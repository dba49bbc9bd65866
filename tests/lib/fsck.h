/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store's own checker, asked in a test: is there any damage? */
#ifndef TESTS_LIB_FSCK_H
#define TESTS_LIB_FSCK_H

#include "fs/util/err.h"

#define FSCK_TEXT (ERR_MESSAGE_MAX + 100)

/* 0: no damage in the delta called name, all of it read; -1 and what it is.
 * Leftovers of a crash are none. Nothing is written. */
int fsck_delta(int dirfd, const char *name, char why[static FSCK_TEXT]);

/* The same for a store at path and all that is in it. */
int fsck_store(const char *path, char why[static FSCK_TEXT]);

#endif
