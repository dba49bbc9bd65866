/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a log's file for replay: headers by several threads, slots ahead of the one in use.
 *
 * A device has little to do for one reader who checks every piece before he
 * asks for the next: with 10 GiB of log 1280 headers one after the other take
 * longer than the records behind a checkpoint. Small logs are read by the
 * caller alone. Nothing is written, so it does not matter that slots are read
 * that turn out not to be wanted.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/replay.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

#define HEADER_READERS 8u
#define HEADERS_ALONE 32u /* fewer are not worth threads */
#define READAHEAD_MIN_BYTES (UINT64_C(32) << 20) /* nor are shorter paths */

int replay_open_medium(struct replay *r, const char *log_name)
{
	struct log *log = r->log;
	const struct io_gate *io = log->io;
	int rc = log->read_only ? 0 : io->fdatasync(io, log->log_fd);

	if (rc < 0)
		return err_sys(r->err, rc, "cannot sync the log");
	r->fd = io->openat(io, log->dirfd, log_name, O_RDONLY | O_DIRECT | O_NOFOLLOW, 0);
	if (r->fd >= 0)
		return 0;
	posix_fadvise(log->log_fd, 0, 0, POSIX_FADV_DONTNEED);
	r->fd = io->openat(io, log->dirfd, log_name, O_RDONLY | O_NOFOLLOW, 0);
	return r->fd < 0 ? err_sys(r->err, r->fd, "cannot open the log") : 0;
}

/* Read up to len bytes; what the file does not have is zeros. */
static int read_at(const struct replay *r, uint8_t *buf, uint64_t len, uint64_t off)
{
	const struct io_gate *io = r->log->io;
	uint64_t have = off < r->file_size ? min_u64(len, r->file_size - off) : 0;
	uint64_t done = 0;

	while (done < have) {
		/* O_DIRECT wants whole pages; the buffer has room for them. */
		ssize_t n = io->pread(
			io, r->fd, buf + done, round_up(have - done, FORMAT_PAGE), off + done);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	memset(buf + done, 0, len - done);
	return 0;
}

/* ---- headers ---- */

struct headers {
	const struct replay *r;
	uint32_t first, n;
	_Atomic uint32_t next; /* not taken by any reader yet */
	_Atomic int rc;        /* of a read that failed */
	_Atomic uint32_t failed;
};

static void *read_headers(void *arg)
{
	struct headers *h = arg;
	uint32_t i;

	while ((i = atomic_fetch_add(&h->next, 1)) < h->n && atomic_load(&h->rc) == 0) {
		int rc = read_at(h->r, h->r->buf + (uint64_t)i * FORMAT_PAGE, FORMAT_PAGE,
			slot_start(h->first + i));

		if (rc < 0) {
			atomic_store(&h->failed, h->first + i);
			atomic_store(&h->rc, rc);
		}
	}
	return NULL;
}

int replay_read_headers(struct replay *r, uint32_t first, uint32_t n)
{
	struct headers h = {.r = r, .first = first, .n = n};
	pthread_t thread[HEADER_READERS - 1];
	uint32_t threads = 0;
	int rc;

	while (n >= HEADERS_ALONE && threads < HEADER_READERS - 1 &&
		pthread_create(&thread[threads], NULL, read_headers, &h) == 0)
		threads++;
	read_headers(&h);
	while (threads > 0)
		pthread_join(thread[--threads], NULL);
	rc = atomic_load(&h.rc);
	return rc < 0 ? err_sys(r->err, rc, "cannot read the log at %" PRIu64,
				slot_start(atomic_load(&h.failed))) : 0;
}

/* ---- slots ---- */

static int read_slot(const struct replay *r, uint8_t *buf, uint32_t slot)
{
	return read_at(r, buf, slot_bytes(slot), slot_start(slot));
}

/* Wait for room in the ring; false when there is nothing more to read. */
static bool has_room_locked(struct readahead *a)
{
	while (!a->stop && a->filled - a->taken == READAHEAD_SLOTS)
		pthread_cond_wait(&a->wake, &a->lock);
	return !a->stop && a->first + a->filled < a->end;
}

static void *read_ahead(void *arg)
{
	struct replay *r = arg;
	struct readahead *a = &r->ahead;
	SCOPED_LOCK(&a->lock);

	while (has_room_locked(a)) {
		uint32_t ring = a->filled % READAHEAD_SLOTS;
		uint32_t slot = r->path[a->first + a->filled].segment.slot;
		int rc;

		pthread_mutex_unlock(&a->lock);
		rc = read_slot(r, a->buf[ring], slot);
		pthread_mutex_lock(&a->lock);
		a->rc[ring] = rc;
		a->filled++;
		pthread_cond_broadcast(&a->wake);
	}
	return NULL;
}

static bool has_buffers(struct readahead *a)
{
	for (uint32_t i = 0; i < READAHEAD_SLOTS; i++)
		if (!a->buf[i] &&
			posix_memalign((void **)&a->buf[i], FORMAT_PAGE, SLOT_FULL_BYTES))
			return false;
	return true;
}

/* Without memory or threads slots are read when it is their turn. */
void replay_begin_ahead(struct replay *r, uint32_t first)
{
	struct readahead *a = &r->ahead;

	if ((r->n_path - first) * SLOT_FULL_BYTES < READAHEAD_MIN_BYTES || !has_buffers(a))
		return;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->wake, NULL);
	a->first = first;
	a->end = r->n_path;
	a->filled = a->taken = 0;
	a->stop = false;
	a->running = pthread_create(&a->thread, NULL, read_ahead, r) == 0;
}

void replay_end_ahead(struct replay *r)
{
	struct readahead *a = &r->ahead;

	if (a->running) {
		pthread_mutex_lock(&a->lock);
		a->stop = true;
		pthread_cond_broadcast(&a->wake);
		pthread_mutex_unlock(&a->lock);
		pthread_join(a->thread, NULL);
		pthread_cond_destroy(&a->wake);
		pthread_mutex_destroy(&a->lock);
	}
	for (uint32_t i = 0; i < READAHEAD_SLOTS; i++)
		free(a->buf[i]);
	memset(a, 0, sizeof(*a));
}

/* The next slot in the ring; its buffer changes places with the caller's. */
static int take_slot(struct replay *r)
{
	struct readahead *a = &r->ahead;
	SCOPED_LOCK(&a->lock);
	uint32_t ring = a->taken % READAHEAD_SLOTS;
	uint8_t *buf = r->buf;

	while (a->filled == a->taken)
		pthread_cond_wait(&a->wake, &a->lock);
	r->buf = a->buf[ring];
	a->buf[ring] = buf;
	a->taken++;
	pthread_cond_broadcast(&a->wake);
	return a->rc[ring];
}

int replay_read_slot(struct replay *r, uint32_t i)
{
	uint32_t slot = r->path[i].segment.slot;
	bool ahead = r->ahead.running && i < r->ahead.end;
	int rc = ahead ? take_slot(r) : read_slot(r, r->buf, slot);

	return rc < 0 ? err_sys(r->err, rc, "cannot read the log at %" PRIu64,
				slot_start(slot)) : 0;
}
