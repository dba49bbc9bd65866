/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A fresh delta for each test, in one directory for the program: cmocka's set-ups and tear-downs.
 *
 *	cmocka_unit_test_setup_teardown(test, onedelta_create, onedelta_remove)
 *	cmocka_run_group_tests(tests, onedelta_make_dir, onedelta_remove_dir)
 *
 * Failures end the test by cmocka's assertions, so include cmocka.h first.
 */
#ifndef TESTS_LIB_ONEDELTA_H
#define TESTS_LIB_ONEDELTA_H

#include "fs/store/delta.h"

#define ONEDELTA_BLOCKS 4096u /* of its disk */

int onedelta_make_dir(void **state);
int onedelta_remove_dir(void **state);
int onedelta_create(void **state);
int onedelta_remove(void **state);

int onedelta_dirfd(void);
const char *onedelta_name(void);

/* Open it, through io if that is not NULL. */
struct delta *onedelta_open(const struct io_gate *io);

/* End its life, by a clean stop or as a kill does, and open it again. */
struct delta *onedelta_again(struct delta *delta, bool killed);

/* Write, and expect, count blocks of a content that does not compress, and is
 * another for each version and block. Version 0: expect blocks never written. */
void onedelta_put(struct delta *delta, unsigned int version, uint64_t block, uint32_t count);
void onedelta_expect(struct delta *delta, unsigned int version, uint64_t block, uint32_t count);

/* Descriptor of NAME.SUFFIX ("log", "super"), for reading and writing. */
int onedelta_file(const char *suffix);

#endif
