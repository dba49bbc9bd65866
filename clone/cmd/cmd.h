/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the command line: one call runs the verb that argv names.
 *
 * Results go to stdout, everything else to stderr. With --json a result is one
 * JSON document, and an error is one line on stderr:
 *
 *	{"error": {"code": EXIT STATUS, "class": TEXT, "message": TEXT, "hint": TEXT | null}}
 */
#ifndef CLONE_CMD_CMD_H
#define CLONE_CMD_CMD_H

/* The exit status (fs/util/err.h). argv is reordered. */
int cmd_run(int argc, char **argv);

#endif
