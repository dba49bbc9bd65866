/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Help, made from the rows of the verbs. */
#ifndef CLONE_CMD_HELP_H
#define CLONE_CMD_HELP_H

#include <stdio.h>

#include "clone/cmd/verb.h"

void help_overview(FILE *out);
void help_verb(FILE *out, const struct verb *verb);

#endif
