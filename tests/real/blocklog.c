/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replays what a device was told: the log of QEMU's blklogwrites, which is dm-log-writes' format.
 *
 *	blocklog points LOG            per entry a line: INDEX BYTES KIND; BYTES is where
 *	                               the entry ends in LOG, KIND one of write flush
 *	blocklog apply LOG IMAGE FROM TO   apply entries FROM .. TO - 1 to IMAGE
 *
 * Format (little-endian): a sector with magic, version, number of entries and
 * sector size; then per entry a sector with its place, length and flags,
 * and the data behind it. The number of entries is only right after the last
 * flush, so the entries end where the file does.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/util/io.h"
#include "fs/util/le.h"

#define MAGIC UINT64_C(0x6a736677736872)
#define SECTOR_MAX 4096u
#define SECTORS_MAX (UINT64_C(64) << 11) /* of one entry: 64 MiB */

#define FLAG_FLUSH 1u
#define FLAG_FUA 2u
#define FLAG_DISCARD 4u

struct head {
	le64 magic, version, entries;
	le32 sector_bytes;
};

struct raw_entry {
	le64 sector, sectors, flags, data_bytes;
};

struct entry {
	uint64_t off, bytes; /* on the device */
	uint64_t flags;
	uint64_t data_pos; /* in the log */
	uint64_t end_pos;
};

struct blocklog {
	int fd;
	uint32_t sector_bytes;
	uint64_t size, pos;
};

static void fail(const char *what, int rc)
{
	fprintf(stderr, "blocklog: error: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void open_log(struct blocklog *log, const char *path)
{
	struct head head;
	struct stat st;

	log->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (log->fd < 0 || fstat(log->fd, &st) < 0)
		fail(path, -errno);
	if (io_read_full(&io_kernel, log->fd, &head, sizeof(head), 0) < 0 ||
		le64_get(head.magic) != MAGIC || le64_get(head.version) != 1)
		fail(path, -EUCLEAN);
	log->sector_bytes = le32_get(head.sector_bytes);
	if (log->sector_bytes < 512 || log->sector_bytes > SECTOR_MAX)
		fail(path, -EUCLEAN);
	log->size = (uint64_t)st.st_size;
	log->pos = log->sector_bytes;
}

/* The next entry; false at the log's end, or within an entry cut off there. */
static bool next_entry(struct blocklog *log, struct entry *ret_entry)
{
	struct raw_entry raw;
	uint64_t data_bytes;

	if (log->size - log->pos < log->sector_bytes ||
		io_read_full(&io_kernel, log->fd, &raw, sizeof(raw), log->pos) < 0)
		return false;
	if (le64_get(raw.sectors) > SECTORS_MAX && !(le64_get(raw.flags) & FLAG_DISCARD))
		fail("an entry is too long", -EUCLEAN);
	ret_entry->off = le64_get(raw.sector) * log->sector_bytes;
	ret_entry->bytes = le64_get(raw.sectors) * log->sector_bytes;
	ret_entry->flags = le64_get(raw.flags);
	ret_entry->data_pos = log->pos + log->sector_bytes;
	data_bytes = ret_entry->flags & FLAG_DISCARD ? 0 : ret_entry->bytes;
	if (log->size - ret_entry->data_pos < data_bytes)
		return false;
	ret_entry->end_pos = log->pos = ret_entry->data_pos + data_bytes;
	return true;
}

static int list_points(const char *path)
{
	struct blocklog log;
	struct entry e;

	open_log(&log, path);
	for (uint64_t i = 0; next_entry(&log, &e); i++)
		printf("%" PRIu64 " %" PRIu64 " %s\n", i, e.end_pos,
			e.flags & (FLAG_FLUSH | FLAG_FUA) ? "flush" : "write");
	return 0;
}

static void apply_entry(const struct blocklog *log, const struct entry *e, int image, void *buf)
{
	int rc;

	if (e->bytes == 0)
		return;
	if (e->flags & FLAG_DISCARD) {
		if (fallocate(image, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)e->off,
			    (off_t)e->bytes) < 0)
			fail("cannot discard", -errno);
		return;
	}
	rc = io_read_full(&io_kernel, log->fd, buf, e->bytes, e->data_pos);
	if (rc == 0)
		rc = io_write_full(&io_kernel, image, buf, e->bytes, e->off);
	if (rc < 0)
		fail("cannot apply an entry", rc);
}

static int apply(const char *path, const char *image, uint64_t from, uint64_t to)
{
	void *buf = malloc(SECTORS_MAX * SECTOR_MAX);
	int fd = open(image, O_RDWR | O_CLOEXEC);
	struct blocklog log;
	struct entry e;

	if (!buf || fd < 0)
		fail(image, -errno);
	open_log(&log, path);
	for (uint64_t i = 0; i < to && next_entry(&log, &e); i++)
		if (i >= from)
			apply_entry(&log, &e, fd, buf);
	free(buf);
	return close(fd) < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "points") == 0)
		return list_points(argv[2]);
	if (argc == 6 && strcmp(argv[1], "apply") == 0)
		return apply(argv[2], argv[3], strtoull(argv[4], NULL, 10),
			strtoull(argv[5], NULL, 10));
	fprintf(stderr, "usage: blocklog points LOG | blocklog apply LOG IMAGE FROM TO\n");
	return 2;
}
