/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse parallel copy.
 *
 * Threads: N workers take regions, at most REGION_BYTES of one run of data,
 * from a shared cursor under `lock`; each then reads and writes its region
 * without any lock. The caller's thread waits for them on `ended`, and wakes
 * in between to report progress. A worker that fails, or sees the signal
 * flag, sets `rc`, and the others stop after the piece they are at.
 */
#include "clone/plan/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clone/plan/interrupt.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/round.h"

#define WORKERS 4               /* enough to keep a device and two processors busy */
#define REGION_BYTES (32u << 20)
#define PIECE_BYTES (1u << 20)  /* one FUSE request */
#define ZERO_UNIT_BYTES (64u << 10) /* shorter runs of zeros are not worth a hole */
#define ALIGN_BYTES 4096
#define PROGRESS_MS 200

struct region {
	const struct copy *copy; /* NULL: no more */
	uint64_t off, end;
};

struct state {
	const struct copy *copies;
	uint32_t count;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	/* Under lock: */
	uint32_t at;      /* the copy being cut into regions */
	uint64_t cursor;  /* within it */
	unsigned int running;
	int rc;           /* first failure */
	const char *failed; /* its copy's name */
	uint64_t done_bytes, written_bytes;
};

int copy_data_bytes(int fd, uint64_t size_bytes, uint64_t *ret_bytes)
{
	uint64_t sum = 0;
	off_t hole = 0;

	while ((uint64_t)hole < size_bytes) {
		off_t data = lseek(fd, hole, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			return -errno;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		if (hole <= data)
			return -EIO;
		sum += (uint64_t)(hole - data);
	}
	*ret_bytes = sum;
	return 0;
}

/* The next run of data of the current copy, from the cursor on. 1, 0 none, -errno. */
static int next_run_locked(struct state *s, struct region *region)
{
	const struct copy *copy = &s->copies[s->at];
	off_t data = lseek(copy->from_fd, (off_t)s->cursor, SEEK_DATA);
	off_t hole;

	if (data < 0)
		return errno == ENXIO ? 0 : -errno;
	hole = lseek(copy->from_fd, data, SEEK_HOLE);
	if (hole < 0)
		return -errno;
	region->copy = copy;
	/* Never behind the cursor: what lies before it is another worker's. */
	region->off = max_u64(round_down((uint64_t)data, ALIGN_BYTES), s->cursor);
	region->end = min_u64(min_u64((uint64_t)hole, copy->size_bytes),
		round_down(region->off, REGION_BYTES) + REGION_BYTES);
	if (region->end <= region->off)
		return -EIO;
	s->cursor = region->end;
	return 1;
}

static int take_region_locked(struct state *s, struct region *region)
{
	region->copy = NULL;
	while (s->at < s->count) {
		int rc = s->cursor < s->copies[s->at].size_bytes ? next_run_locked(s, region) : 0;

		if (rc != 0)
			return rc < 0 ? rc : 0;
		s->at++;
		s->cursor = 0;
	}
	return 0;
}

static bool all_zero(const char *buf, size_t len)
{
	return len == 0 || (buf[0] == 0 && memcmp(buf, buf + 1, len - 1) == 0);
}

/* Write what is not zero, neighbouring units in one go. */
static int write_piece(int fd, const char *buf, size_t len, uint64_t off, uint64_t *written)
{
	size_t at = 0;

	while (at < len) {
		size_t from, unit;
		int rc;

		while (at < len && all_zero(buf + at, unit = min_u64(ZERO_UNIT_BYTES, len - at)))
			at += unit;
		from = at;
		while (at < len && !all_zero(buf + at, unit = min_u64(ZERO_UNIT_BYTES, len - at)))
			at += unit;
		if (at == from)
			continue;
		rc = io_write_full(&io_kernel, fd, buf + from, at - from, off + from);
		if (rc < 0)
			return rc;
		*written += at - from;
	}
	return 0;
}

static void account(struct state *s, uint64_t done, uint64_t written)
{
	SCOPED_LOCK(&s->lock);
	s->done_bytes += done;
	s->written_bytes += written;
}

static bool stopped(struct state *s)
{
	SCOPED_LOCK(&s->lock);
	return s->rc != 0;
}

static int copy_region(struct state *s, const struct region *region, char *buf)
{
	const struct copy *copy = region->copy;
	uint64_t off = region->off;

	while (off < region->end) {
		uint64_t next = min_u64(round_down(off, PIECE_BYTES) + PIECE_BYTES, region->end);
		size_t len = (size_t)(next - off);
		uint64_t written = 0;
		int rc = interrupt_pending() ? -EINTR : 0;

		if (rc == 0)
			rc = io_read_full(&io_kernel, copy->from_fd, buf, len, off);
		if (rc == 0)
			rc = write_piece(copy->to_fd, buf, len, off, &written);
		if (rc < 0)
			return rc;
		account(s, len, written);
		if (stopped(s))
			return 0;
		off = next;
	}
	/* So that the fsync at the end has little left to do; it reports errors. */
	io_kernel.start_writeback(
		&io_kernel, copy->to_fd, region->off, region->end - region->off);
	return 0;
}

static int next_region(struct state *s, struct region *region)
{
	SCOPED_LOCK(&s->lock);
	region->copy = NULL;
	return s->rc ? 0 : take_region_locked(s, region);
}

static int work(struct state *s, char *buf, const char **ret_failed)
{
	struct region region;
	int rc;

	while ((rc = next_region(s, &region)) == 0 && region.copy) {
		*ret_failed = region.copy->name;
		rc = copy_region(s, &region, buf);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static void *worker(void *arg)
{
	AUTO_FREE void *buf = NULL;
	struct state *s = arg;
	const char *failed = s->copies[0].name;
	int rc = posix_memalign(&buf, ALIGN_BYTES, PIECE_BYTES) ? -ENOMEM : 0;

	if (rc == 0)
		rc = work(s, buf, &failed);
	SCOPED_LOCK(&s->lock);
	if (rc < 0 && s->rc == 0) {
		s->rc = rc;
		s->failed = failed;
	}
	if (--s->running == 0)
		pthread_cond_signal(&s->ended);
	return NULL;
}

static struct timespec in_ms(long ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += ms * 1000000;
	at.tv_sec += at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	return at;
}

/* The lock is given up while the caller's function prints. */
static void wait_for_workers(struct state *s, uint64_t total_bytes, copy_progress *progress,
	void *ctx)
{
	pthread_mutex_lock(&s->lock);
	while (s->running > 0) {
		struct timespec until = in_ms(PROGRESS_MS);
		uint64_t done_bytes;

		pthread_cond_timedwait(&s->ended, &s->lock, &until);
		done_bytes = s->done_bytes;
		pthread_mutex_unlock(&s->lock);
		if (progress)
			progress(ctx, min_u64(done_bytes, total_bytes), total_bytes);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
}

static int start_workers(struct state *s, pthread_t *threads, unsigned int *ret_started)
{
	for (*ret_started = 0; *ret_started < WORKERS; (*ret_started)++) {
		SCOPED_LOCK(&s->lock);
		int rc = pthread_create(&threads[*ret_started], NULL, worker, s);

		if (rc)
			return *ret_started > 0 ? 0 : -rc; /* fewer will do */
		s->running++;
	}
	return 0;
}

static void state_init(struct state *s, const struct copy *copies, uint32_t count)
{
	pthread_condattr_t attr;

	*s = (struct state){.copies = copies, .count = count};
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->ended, &attr);
	pthread_condattr_destroy(&attr);
}

int copy_run(const struct copy *copies, uint32_t count, uint64_t total_bytes,
	copy_progress *progress, void *ctx, uint64_t *ret_written, struct err *err)
{
	pthread_t threads[WORKERS];
	unsigned int started;
	struct state s;
	int rc;

	state_init(&s, copies, count);
	rc = start_workers(&s, threads, &started);
	if (rc == 0)
		wait_for_workers(&s, total_bytes, progress, ctx);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (rc == 0)
		rc = s.rc;
	pthread_cond_destroy(&s.ended);
	pthread_mutex_destroy(&s.lock);
	if (rc == -EINTR)
		return err_set(err, rc, "interrupted");
	if (rc < 0)
		return err_sys(err, rc, "cannot copy the disk %s", s.failed ? s.failed : "");
	*ret_written = s.written_bytes;
	return 0;
}
