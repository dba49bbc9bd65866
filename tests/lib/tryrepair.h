/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Check a delta whatever it is made of, and repair it into another one: for fuzz targets. */
#ifndef TESTS_LIB_TRYREPAIR_H
#define TESTS_LIB_TRYREPAIR_H

#include "fs/util/io.h"

/* NULL, or which promise was broken: the checker agrees with replay about what
 * is damaged, and what it repairs is clean. The delta itself stays as it is. */
const char *try_repair(const struct io_gate *io, int dirfd, const char *name);

#endif
