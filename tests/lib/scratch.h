/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory for one test, files in it, and waiting for something to become true.
 *
 * Failures end the test by cmocka's assertions, so include cmocka.h first.
 */
#ifndef TESTS_LIB_SCRATCH_H
#define TESTS_LIB_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SCRATCH_PATH_MAX 128

/* Make a new empty directory and say its path; below $TMPDIR or /tmp. */
void scratch_make(void);
/* Delete it with all that is in it; does not cross into other file systems. */
void scratch_remove(void);
const char *scratch_dir(void);

/* DIR/NAME in the caller's buffer. */
const char *scratch_path(char path[static SCRATCH_PATH_MAX], const char *name);

/* A file of size bytes of which the first len are (data, len). */
void scratch_file(const char *path, const void *data, size_t len, uint64_t size_bytes);

/* Bytes that no other seed gives, half of them compressible. */
void scratch_fill(void *data, size_t len, uint64_t seed);

/* Run a shell command; returns its exit status, its output in *ret_output
 * (NULL: not wanted), which the caller frees. */
int scratch_run(char **ret_output, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* One round of waiting, 2 ms; false when 20 s are over. Start with *rounds = 0. */
bool scratch_patience(unsigned int *rounds);

#define WAIT_UNTIL(condition)                                                                      \
	do {                                                                                       \
		unsigned int rounds_ = 0;                                                          \
		while (!(condition))                                                               \
			assert_true(scratch_patience(&rounds_));                                   \
	} while (0)

#endif
