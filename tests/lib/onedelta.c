/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A fresh delta for each test: see onedelta.h. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/util/id.h"
#include "tests/lib/onedelta.h"
#include "tests/lib/temp.h"

static char dir[TEMP_PATH_MAX];
static int dirfd_ = -1;
static char name[ID_TEXT];

int onedelta_make_dir(void **state)
{
	temp_dir("test-delta", dir);
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0 ? -1 : 0;
}

int onedelta_remove_dir(void **state)
{
	close(dirfd_);
	temp_dir_remove(dir);
	return 0;
}

int onedelta_create(void **state)
{
	struct id id = id_new();

	id_format(&id, name);
	return delta_create(
		NULL, dirfd_, name, (uint64_t)ONEDELTA_BLOCKS * DELTA_BLOCK_BYTES, NULL);
}

int onedelta_remove(void **state)
{
	return delta_remove(NULL, dirfd_, name);
}

int onedelta_dirfd(void)
{
	return dirfd_;
}

const char *onedelta_name(void)
{
	return name;
}

struct delta *onedelta_open(const struct io_gate *io)
{
	const struct delta_options options = {.io = io};
	struct delta *delta = NULL;
	struct err err = {0};
	int rc = delta_open(dirfd_, name, &options, &delta, &err);

	if (rc < 0)
		print_message("%s\n", err.message);
	assert_int_equal(rc, 0);
	return delta;
}

int onedelta_file(const char *suffix)
{
	char file[ID_TEXT + 8];

	snprintf(file, sizeof(file), "%s.%s", name, suffix);
	return openat(dirfd_, file, O_RDWR | O_CLOEXEC);
}
