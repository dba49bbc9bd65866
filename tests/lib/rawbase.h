/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One raw image as a base: in the words of tests that need no more. */
#ifndef TESTS_LIB_RAWBASE_H
#define TESTS_LIB_RAWBASE_H

#include "fs/base/base.h"

/* identity NULL: as it is now. */
int rawbase_hold(const char *path, const char *identity, struct base **ret_base, struct err *err);

int rawbase_identify(const char *path, char **ret_identity, uint64_t *ret_size_bytes,
	struct err *err);

#endif
