/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking at a delta's files: see scan.h. Nothing is written here. */
#include "fs/store/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/store/delta.h"
#include "fs/store/slot.h"
#include "fs/util/round.h"

#define NAME_TEXT (ID_TEXT + 8)

static int open_file(const struct scan *scan, int dirfd, const char *name, const char *suffix)
{
	char file[NAME_TEXT];

	snprintf(file, sizeof(file), "%.32s.%s", name, suffix);
	return scan->io->openat(scan->io, dirfd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
}

/* Read up to len bytes; what the file does not have is zeros. */
static int read_some(const struct scan *scan, int fd, void *buf, uint64_t len, uint64_t off)
{
	uint64_t done = 0;

	while (done < len) {
		ssize_t n = scan->io->pread(
			scan->io, fd, (uint8_t *)buf + done, len - done, off + done);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	memset((uint8_t *)buf + done, 0, len - done);
	return 0;
}

/* ---- super blocks ---- */

static int read_copy(const struct scan *scan, int fd, uint32_t i, const char *name,
	struct scan_copy *copy)
{
	struct format_super raw;
	struct id id;
	int rc = read_some(scan, fd, &raw, sizeof(raw), (uint64_t)i * FORMAT_PAGE);

	if (rc < 0)
		return rc;
	copy->rc = super_decode(&raw, &copy->super, &copy->err);
	if (copy->rc == 0 && (id_parse(name, &id) < 0 || !id_equal(&id, &copy->super.id)))
		copy->rc = err_set(&copy->err, -EUCLEAN, "that of another delta");
	return 0;
}

static int read_copies(struct scan *scan, int dirfd, const char *name, struct err *err)
{
	int fd = open_file(scan, dirfd, name, "super");
	int rc = 0;

	for (uint32_t i = 0; i < SCAN_COPIES; i++)
		scan->copy[i].rc = err_set(&scan->copy[i].err, -EUCLEAN, "missing");
	if (fd < 0)
		return fd == -ENOENT ? fd : err_sys(err, fd, "cannot open the super block");
	for (uint32_t i = 0; rc == 0 && i < SCAN_COPIES; i++) {
		rc = read_copy(scan, fd, i, name, &scan->copy[i]);
		if (rc == 0 && scan->copy[i].rc == 0 &&
			(!scan->super ||
				scan->copy[i].super.generation > scan->super->generation))
			scan->super = &scan->copy[i].super;
	}
	scan->io->close(scan->io, fd);
	return rc < 0 ? err_sys(err, rc, "cannot read the super block") : 0;
}

/* ---- slots ---- */

static bool all_zeros(const uint8_t *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static int read_header(struct scan *scan, uint32_t slot)
{
	struct scan_slot *s = &scan->slots[slot];
	struct format_segment raw;
	int rc = read_some(scan, scan->log_fd, &raw, sizeof(raw), slot_start(slot));

	if (rc < 0)
		return rc;
	if (all_zeros((const uint8_t *)&raw, sizeof(raw)))
		s->kind = SCAN_NEVER;
	else if (segment_decode(&raw, scan->super, slot, &s->header) < 0)
		s->kind = SCAN_DAMAGED;
	else
		s->kind = s->header.free ? SCAN_FREE : SCAN_SEGMENT;
	return 0;
}

/* Slots that the file has a byte of. */
static uint32_t count_slots(const struct scan *scan)
{
	if (scan->log_bytes == 0)
		return 0;
	return (uint32_t)min_u64(slot_of(min_u64(scan->log_bytes, FORMAT_LOG_MAX) - 1) + 1ULL,
		SLOT_COUNT_MAX);
}

static int read_headers(struct scan *scan, struct err *err)
{
	uint32_t n = count_slots(scan);

	scan->slots = calloc(n + 1, sizeof(*scan->slots));
	if (!scan->slots)
		return err_sys(err, -ENOMEM, "cannot look at the log");
	for (; scan->n_slots < n; scan->n_slots++) {
		int rc = read_header(scan, scan->n_slots);

		if (rc < 0)
			return err_sys(err, rc, "cannot read the log");
	}
	return 0;
}

static int open_log(struct scan *scan, int dirfd, const char *name, struct err *err)
{
	struct stat st;
	int fd = open_file(scan, dirfd, name, "log");

	if (fd < 0)
		return fd == -ENOENT ? fd : err_sys(err, fd, "cannot open the log");
	scan->log_fd = fd;
	if (fstat(fd, &st) < 0)
		return err_sys(err, -errno, "cannot stat the log");
	scan->log_bytes = (uint64_t)st.st_size;
	return scan->super ? read_headers(scan, err) : 0;
}

int scan_open(const struct io_gate *io, int dirfd, const char *name, struct scan **ret_scan,
	struct err *err)
{
	struct scan *scan = calloc(1, sizeof(*scan));
	int rc, log_rc;

	if (!scan)
		return err_sys(err, -ENOMEM, "cannot look at delta %s", name);
	scan->io = io;
	scan->log_fd = -1;
	rc = read_copies(scan, dirfd, name, err);
	log_rc = rc == 0 || rc == -ENOENT ? open_log(scan, dirfd, name, err) : rc;
	if (rc == -ENOENT && log_rc == -ENOENT)
		err_set(err, rc, "its files are missing");
	else if (rc == 0 || rc == -ENOENT)
		rc = log_rc == -ENOENT ? 0 : log_rc;
	if (rc < 0) {
		err_prefix(err, "delta %s", name);
		scan_close(scan);
		return rc;
	}
	*ret_scan = scan;
	return 0;
}

void scan_close(struct scan *scan)
{
	if (!scan)
		return;
	if (scan->log_fd >= 0)
		scan->io->close(scan->io, scan->log_fd);
	free(scan->slots);
	free(scan->buf);
	free(scan);
}

/* ---- records ---- */

static void verify_payloads(const struct record_place *place, struct scan_record *found)
{
	const struct record *r = found->record;
	uint32_t at = r->body;

	found->n_bad = 0;
	for (uint32_t i = 0; i < r->n; i++) {
		struct record_entry e = record_entry(r, i);
		uint64_t hash;

		found->bad[i] = e.len > 0 && record_verify_block(place, place->pos + at, e.block,
							found->bytes + at, e.len, &hash) < 0;
		found->n_bad += found->bad[i];
		at += record_block_bytes(e.len);
	}
}

static int read_slot(struct scan *scan, uint32_t slot)
{
	if (!scan->buf)
		scan->buf = malloc(SLOT_FULL_BYTES);
	if (!scan->buf)
		return -ENOMEM;
	return read_some(scan, scan->log_fd, scan->buf, slot_bytes(slot), slot_start(slot));
}

/* The record at this place; -EUCLEAN: there is none. */
static int next_record(const struct scan *scan, uint32_t slot, uint64_t min_lsn,
	const struct scan_end *at, struct record *record, struct scan_record *found)
{
	const struct segment *s = &scan->slots[slot].header;
	struct record_place place = {
		.key = scan->super->key,
		.epoch = s->epoch,
		.seq = s->seq,
		.pos = slot_start(slot) + at->off,
		.prev_sum = at->chain,
	};
	uint64_t blocks =
		round_up(scan->super->size_bytes, DELTA_BLOCK_BYTES) >> DELTA_BLOCK_SHIFT;

	if (record_decode_head(&place, scan->buf + at->off, slot_bytes(slot) - at->off, blocks,
		    max_u64(max_u64(at->lsn + 1, min_lsn), s->first_lsn), record) < 0)
		return -EUCLEAN;
	*found = (struct scan_record){
		.slot = slot,
		.seq = s->seq,
		.off = at->off,
		.record = record,
		.bytes = scan->buf + at->off,
	};
	verify_payloads(&place, found);
	return 0;
}

struct scan_end scan_begin(const struct scan *scan, uint32_t slot)
{
	return (struct scan_end){
		.off = FORMAT_PAGE, .chain = scan->slots[slot].header.prev_sum};
}

int scan_records(struct scan *scan, uint32_t slot, uint64_t stop, uint64_t min_lsn,
	int (*fn)(void *ctx, const struct scan_record *record), void *ctx, struct scan_end *at)
{
	struct scan_record found;
	struct record record;
	int rc = read_slot(scan, slot);

	if (rc < 0)
		return rc;
	while (!at->sealed && at->off < min_u64(stop, slot_bytes(slot)) &&
		next_record(scan, slot, min_lsn, at, &record, &found) == 0) {
		rc = fn ? fn(ctx, &found) : 0;
		if (rc != 0)
			return rc;
		at->off += record.length;
		at->chain = record.sum;
		at->lsn = record.lsn;
		at->sealed = record.type == FORMAT_END;
	}
	return 0;
}
