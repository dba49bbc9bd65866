/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as super blocks of a delta. room: fs/store
 *
 * The first byte: bit 0 puts magic, version, block shift and checksum in order,
 * so that the checks behind them are reached. The rest are the two copies, cut
 * or filled up with zeros.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/store/super.h"
#include "fs/util/hash.h"

static void seal(struct format_super *raw)
{
	raw->magic = le64_put(FORMAT_SUPER_MAGIC);
	raw->version = le32_put(FORMAT_VERSION);
	raw->block_shift = le32_put(DELTA_BLOCK_SHIFT);
	raw->sum = le64_put(hash64(raw, offsetof(struct format_super, sum), 0));
}

/* What was accepted must come back from what is written of it. */
static void check_round(const struct super *super)
{
	struct format_super raw;
	struct super back;

	super_encode(super, &raw);
	if (super_decode(&raw, &back, NULL) < 0 || back.size_bytes != super->size_bytes ||
		back.end_off != super->end_off || back.clean != super->clean)
		abort();
}

static void read_both(const struct format_super raw[2])
{
	struct super super;
	struct err err;
	int fd = memfd_create("super", MFD_CLOEXEC);

	if (fd < 0 || pwrite(fd, raw, 2 * sizeof(raw[0]), 0) != 2 * sizeof(raw[0]))
		abort();
	if (super_read(&io_kernel, fd, &super, NULL, &err) == 0) {
		check_round(&super);
		bool last = super.generation + 1 == FORMAT_COUNTER_MAX;

		if (super_write(&io_kernel, fd, &super) != (last ? -EOVERFLOW : 0) ||
			super_read(&io_kernel, fd, &super, NULL, &err) < 0)
			abort();
	}
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct format_super raw[2];

	memset(raw, 0, sizeof(raw));
	if (size > 1)
		memcpy(raw, data + 1, size - 1 < sizeof(raw) ? size - 1 : sizeof(raw));
	for (int i = 0; size > 0 && (data[0] & 1) && i < 2; i++)
		seal(&raw[i]);
	read_both(raw);
	return 0;
}
