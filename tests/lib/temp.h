/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories for tests, deleted at the end, and when a signal or a failed assert() ends the program. */
#ifndef TESTS_LIB_TEMP_H
#define TESTS_LIB_TEMP_H

#define TEMP_PATH_MAX 128

/* A new empty directory below TMPDIR or /tmp; fast: in memory where it can be.
 * Ends the program when there is none. */
void temp_dir(const char *name, char path[static TEMP_PATH_MAX]);
void temp_dir_fast(const char *name, char path[static TEMP_PATH_MAX]);

/* Delete it with all that is in it; does not cross into other file systems. */
void temp_dir_remove(const char *path);

#endif
