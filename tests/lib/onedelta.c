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
	return delta_remove(NULL, dirfd_, name, NULL);
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

struct delta *onedelta_again(struct delta *delta, bool killed)
{
	if (killed)
		delta_abandon(delta);
	else
		assert_int_equal(delta_close(delta), 0);
	return onedelta_open(NULL);
}

static void fill(unsigned int version, uint64_t block, uint8_t *content)
{
	uint64_t state = (block << 20) + version;

	for (size_t i = 0; i < DELTA_BLOCK_BYTES; i++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
		content[i] = (uint8_t)(state >> 56);
	}
}

void onedelta_put(struct delta *delta, unsigned int version, uint64_t block, uint32_t count)
{
	static uint8_t buf[DELTA_BLOCKS_MAX * DELTA_BLOCK_BYTES];

	for (uint32_t i = 0; i < count; i++)
		fill(version, block + i, buf + (size_t)i * DELTA_BLOCK_BYTES);
	assert_int_equal(delta_write(delta, buf, count, block), 0);
}

void onedelta_expect(struct delta *delta, unsigned int version, uint64_t block, uint32_t count)
{
	uint8_t want[DELTA_BLOCK_BYTES], got[DELTA_BLOCK_BYTES];
	enum delta_owner owner;

	for (uint32_t i = 0; i < count; i++) {
		fill(version, block + i, want);
		assert_int_equal(delta_read(delta, got, 1, block + i, false, &owner), 1);
		assert_int_equal(owner, version ? DELTA_DATA : DELTA_ABSENT);
		if (version)
			assert_memory_equal(got, want, sizeof(want));
	}
}

int onedelta_file(const char *suffix)
{
	char file[ID_TEXT + 8];

	snprintf(file, sizeof(file), "%s.%s", name, suffix);
	return openat(dirfd_, file, O_RDWR | O_CLOEXEC);
}
