/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel, but space is only promised: for tests that make ten thousands of logs in memory. */
#ifndef TESTS_LIB_THIN_H
#define TESTS_LIB_THIN_H

#include "fs/util/io.h"

/* fallocate makes a file longer and allocates nothing; what is read is the
 * same. Allocating was nine tenths of those tests' time. */
extern const struct io_gate *const io_thin;

/* Keep freed memory: giving it back and taking it again is most of the rest. */
void thin_keep_memory(void);

#endif
