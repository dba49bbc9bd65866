/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replaying the log: from the files to an index and an end. Algorithm: format.h, "reading the log".
 *
 * Nothing is written here but the sync of an unclean log. What is refused is
 * named with segment and position, so that a person can look.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/log.h"
#include "fs/store/record.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

struct replay {
	struct log *log;
	int fd;            /* to read by: bypasses the cache after an unclean end */
	uint64_t file_size;
	uint8_t *buf;      /* one slot, page-aligned */
	struct segment *path; /* oldest first */
	uint32_t n_path;
	uint64_t newest_seq;
	uint64_t lsn;      /* of the last accepted record */
	uint64_t witness;  /* no lower LSN may be the last */
	struct err *err;
};

/* Read up to len bytes; what the file does not have is zeros. */
static int read_some(struct replay *r, uint64_t len, uint64_t off)
{
	uint64_t have = off < r->file_size ? min_u64(len, r->file_size - off) : 0;
	uint64_t done = 0;

	while (done < have) {
		/* O_DIRECT wants whole pages; the buffer has room for them. */
		ssize_t n = r->log->io->pread(r->log->io, r->fd, r->buf + done,
			round_up(have - done, FORMAT_PAGE), off + done);

		if (n < 0)
			return err_sys(r->err, (int)n, "cannot read the log at %" PRIu64, off + done);
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	memset(r->buf + done, 0, len - done);
	return 0;
}

/* Read from the medium, not from a cache that may show what was lost. */
static int open_medium(struct replay *r, int dirfd, const char *log_name)
{
	const struct io_gate *io = r->log->io;
	int rc = io->fdatasync(io, r->log->log_fd);

	if (rc < 0)
		return err_sys(r->err, rc, "cannot sync the log");
	r->fd = io->openat(io, dirfd, log_name, O_RDONLY | O_DIRECT | O_NOFOLLOW, 0);
	if (r->fd >= 0)
		return 0;
	posix_fadvise(r->log->log_fd, 0, 0, POSIX_FADV_DONTNEED);
	r->fd = io->openat(io, dirfd, log_name, O_RDONLY | O_NOFOLLOW, 0);
	return r->fd < 0 ? err_sys(r->err, r->fd, "cannot open the log") : 0;
}

/* Slots behind the last valid header are free again: a header that did not
 * reach the medium. */
static int scan_slots(struct replay *r)
{
	struct log *log = r->log;

	for (uint32_t slot = 0; slot < SLOT_COUNT_MAX && slot_start(slot) < r->file_size; slot++) {
		struct segment s;
		int rc = read_some(r, FORMAT_PAGE, slot_start(slot));

		if (rc < 0)
			return rc;
		if (segment_decode((const struct format_segment *)r->buf, &log->super, slot, &s) < 0)
			continue;
		r->witness = max_u64(r->witness, s.durable_lsn);
		r->newest_seq = max_u64(r->newest_seq, s.seq);
		r->n_path++;
		rc = segment_table_put(&log->segments, &s);
		if (rc < 0)
			return err_sys(r->err, rc, "the log has too many segments");
	}
	return 0;
}

static int by_seq(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* May a power cut have taken the header of a segment that a later one names?
 * Only in the last life, behind its first segment: those headers are written
 * without a sync, in whatever order the device likes. What came before the
 * life, and all of a cleanly stopped one, was durable. */
static bool may_be_lost(const struct replay *r, uint64_t seq)
{
	const struct super *super = &r->log->super;

	return !super->clean && seq > super->life_seq &&
		r->path[r->n_path - 1].epoch == super->epoch;
}

/* Leave on the path only what the newest segment leads back to. Behind a lost
 * header all is a lost tail: then the newest before it is the one. */
static int keep_path(struct replay *r)
{
	uint64_t wanted = r->newest_seq;
	uint32_t kept = r->n_path;

	for (uint32_t i = r->n_path; i-- > 0;) {
		if (i > 0 && r->path[i].seq == r->path[i - 1].seq)
			return err_set(r->err, -EUCLEAN, "segment %" PRIu64 " is there twice",
				r->path[i].seq);
		if (r->path[i].seq > wanted)
			continue;
		if (r->path[i].seq < wanted) {
			if (!may_be_lost(r, wanted))
				break;
			kept = r->n_path;
		}
		r->path[--kept] = r->path[i];
		wanted = r->path[i].prev_seq;
	}
	if (wanted != 0)
		return err_set(r->err, -EUCLEAN, "segment %" PRIu64 " of the log is missing", wanted);
	memmove(r->path, r->path + kept, (r->n_path - kept) * sizeof(*r->path));
	r->n_path -= kept;
	return 0;
}

static int build_path(struct replay *r)
{
	struct segment_table *table = &r->log->segments;
	uint32_t n = 0;

	r->path = calloc(r->n_path + 1, sizeof(*r->path));
	if (!r->path)
		return err_sys(r->err, -ENOMEM, "cannot replay the log");
	for (uint32_t slot = 0; slot < table->count; slot++) {
		const struct segment *s = segment_table_get(table, slot);

		if (s)
			r->path[n++] = *s;
	}
	qsort(r->path, n, sizeof(*r->path), by_seq);
	return keep_path(r);
}

static int apply_record(struct replay *r, const struct record *record, uint64_t pos)
{
	uint32_t blocks = record->type == FORMAT_DATA ? record->n : 1;

	if (index_reserve(&r->log->index, index_pages_for(blocks)) < 0)
		return err_sys(r->err, -ENOMEM, "cannot build the index");
	log_index_record(r->log, record, pos);
	return 0;
}

/* Apply one segment's records up to stop, or to the first invalid one. The
 * log's end and chain value follow. */
static int replay_segment(struct replay *r, const struct segment *s, uint64_t stop)
{
	struct log *log = r->log;
	uint64_t start = slot_start(s->slot), bytes = slot_bytes(s->slot);
	int rc = read_some(r, bytes, start);

	log->end = FORMAT_PAGE;
	log->chain = s->prev_sum;
	while (rc == 0 && log->end < stop) {
		struct record record;
		struct record_place place = {
			.key = log->key,
			.epoch = s->epoch,
			.seq = s->seq,
			.pos = start + log->end,
			.prev_sum = log->chain,
		};

		if (record_decode(&place, r->buf + log->end, bytes - log->end,
			    log_disk_blocks(log), max_u64(r->lsn + 1, s->first_lsn), &record) < 0)
			break;
		rc = apply_record(r, &record, place.pos);
		log->end += record.length;
		log->chain = record.sum;
		r->lsn = record.lsn;
	}
	return rc;
}

/* May the log end in path[i], before the segments after it? */
static bool is_torn_tail(const struct replay *r, uint32_t i)
{
	for (uint32_t later = i + 1; later < r->n_path; later++)
		if (r->path[later].epoch != r->path[i].epoch)
			return false;
	return true;
}

/* The clean mark counts only while nothing newer is there. */
static bool counts_as_clean(const struct replay *r)
{
	const struct super *super = &r->log->super;

	return super->clean && r->newest_seq <= super->end_seq;
}

/* Where path[i] has to end: where the next one or the clean mark says. What a
 * failed append left behind that place was never acknowledged. */
static uint64_t stop_of(const struct replay *r, uint32_t i)
{
	const struct super *super = &r->log->super;

	if (i + 1 < r->n_path)
		return r->path[i + 1].prev_end;
	if (counts_as_clean(r) && r->path[i].seq == super->end_seq)
		return super->end_off;
	return UINT64_MAX;
}

static int replay_path(struct replay *r)
{
	struct log *log = r->log;

	for (uint32_t i = 0; i < r->n_path; i++) {
		const struct segment *next = i + 1 < r->n_path ? &r->path[i + 1] : NULL;
		int rc = replay_segment(r, &r->path[i], stop_of(r, i));

		if (rc < 0)
			return rc;
		log->prev_seq = r->path[i].seq;
		log->prev_end = log->end;
		if (!next || (log->end == next->prev_end && log->chain == next->prev_sum))
			continue;
		if (log->end > next->prev_end || !is_torn_tail(r, i))
			return err_set(r->err, -EUCLEAN,
				"damaged record in segment %" PRIu64 " at offset %" PRIu64
				" of the log", r->path[i].seq,
				slot_start(r->path[i].slot) + log->end);
		break;
	}
	return 0;
}

static bool on_path(const struct replay *r, uint64_t seq)
{
	for (uint32_t i = 0; i < r->n_path; i++)
		if (r->path[i].seq == seq)
			return true;
	return false;
}

static int check_witnesses(struct replay *r)
{
	struct log *log = r->log;
	const struct super *super = &log->super;

	if (super->life_seq && !on_path(r, super->life_seq))
		return err_set(r->err, -EUCLEAN, "segment %" PRIu64 " of the log is missing",
			super->life_seq);
	if (r->lsn < max_u64(r->witness, super->durable_lsn))
		return err_set(r->err, -EUCLEAN,
			"damaged record %" PRIu64 " in segment %" PRIu64 ", which had been flushed",
			r->lsn + 1, log->prev_seq);
	if (counts_as_clean(r) && super->end_seq &&
		(log->prev_seq != super->end_seq || log->prev_end != super->end_off ||
			log->chain != super->end_sum))
		return err_set(r->err, -EUCLEAN, "the log ends before its clean-stop mark");
	return 0;
}

static int replay_all(struct replay *r)
{
	int rc = build_path(r);

	if (rc == 0)
		rc = replay_path(r);
	return rc < 0 ? rc : check_witnesses(r);
}

/* Look at the headers first: they tell whether the clean mark counts. If not,
 * sync, and begin again from the medium. */
static int prepare(struct replay *r, int dirfd, const char *log_name, bool *ret_clean)
{
	int rc = scan_slots(r);

	*ret_clean = counts_as_clean(r);
	if (rc < 0 || *ret_clean)
		return rc;
	rc = open_medium(r, dirfd, log_name);
	segment_table_release(&r->log->segments);
	r->n_path = 0;
	r->newest_seq = r->witness = 0;
	return rc < 0 ? rc : scan_slots(r);
}

int log_replay(struct log *log, int dirfd, const char *log_name, bool *ret_clean, struct err *err)
{
	struct replay r = {.log = log, .fd = log->log_fd, .err = err};
	struct stat st;
	int rc;

	if (fstat(log->log_fd, &st) < 0)
		return err_sys(err, -errno, "cannot stat the log");
	r.file_size = (uint64_t)st.st_size;
	if (posix_memalign((void **)&r.buf, FORMAT_PAGE, SLOT_FULL_BYTES))
		return err_sys(err, -ENOMEM, "cannot replay the log");
	rc = prepare(&r, dirfd, log_name, ret_clean);
	if (rc == 0)
		rc = replay_all(&r);
	log->max_seq = r.newest_seq;
	log->next_lsn = max_u64(r.lsn, r.witness) + 1;
	log->appended_lsn = log->durable_lsn = r.lsn;
	log->written_sec = *ret_clean ? log->super.written_sec : (uint64_t)st.st_mtime;
	if (r.fd != log->log_fd && r.fd >= 0)
		log->io->close(log->io, r.fd);
	free(r.path);
	free(r.buf);
	return rc;
}
