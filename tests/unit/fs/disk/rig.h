/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk in a scratch directory: a base file, a delta, and opening them again. */
#ifndef TESTS_UNIT_FS_DISK_RIG_H
#define TESTS_UNIT_FS_DISK_RIG_H

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/disk/disk.h"
#include "fs/util/id.h"
#include "tests/lib/scratch.h"

struct rig {
	char base[SCRATCH_PATH_MAX]; /* "" : no base */
	char name[ID_TEXT];
	uint64_t limit_bytes;
	int dirfd;
	struct disk *disk;
};

static inline void rig_open(struct rig *rig)
{
	struct delta *delta = NULL;
	struct base *base = NULL;
	struct err err = {0};

	if (delta_open(rig->dirfd, rig->name, NULL, &delta, &err) < 0)
		fail_msg("%s", err.message);
	if (rig->base[0] != '\0' && base_hold(rig->base, NULL, &base, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(disk_open(delta, base, rig->limit_bytes, &rig->disk), 0);
}

/* Make a scratch directory with a disk of size bytes over a base file with
 * (data, len) and holes up to base_bytes; base_bytes 0: none. */
static inline void rig_start(struct rig *rig, uint64_t size_bytes, const void *data, size_t len,
	uint64_t base_bytes)
{
	struct id id = id_new();

	*rig = (struct rig){.limit_bytes = base_bytes};
	scratch_make();
	rig->dirfd = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(rig->dirfd >= 0);
	if (base_bytes > 0)
		scratch_file(scratch_path(rig->base, "base.raw"), data, len, base_bytes);
	id_format(&id, rig->name);
	assert_int_equal(delta_create(NULL, rig->dirfd, rig->name, size_bytes, NULL), 0);
	rig_open(rig);
}

static inline void rig_reopen(struct rig *rig, bool killed)
{
	if (killed)
		disk_abandon(rig->disk);
	else
		assert_int_equal(disk_close(rig->disk), 0);
	rig->disk = NULL;
	rig_open(rig);
}

static inline void rig_end(struct rig *rig)
{
	disk_abandon(rig->disk);
	rig->disk = NULL;
	if (rig->dirfd > 0)
		close(rig->dirfd);
	rig->dirfd = -1;
	scratch_remove();
}

#endif
