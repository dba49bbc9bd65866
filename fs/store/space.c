/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Granting space, and the file of allocated blocks behind it: see space.h.
 *
 * The reserve file is as long as it is filled, and allocated up to there.
 * Filling and spending it are the only I/O here; they happen without the lock,
 * one thread at a time (pool->changing).
 */
#include "fs/store/space.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs/store/remains.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"
#include "fs/util/round.h"

#define RESERVE_FILE "reserve"
#define RESERVE_MODE 0600
#define FILL_UNIT_BYTES (UINT64_C(1) << 20)

struct space_pool {
	/* set once */
	const struct io_gate *io;
	int dirfd;
	uint64_t quota_bytes;
	uint64_t reserve_bytes; /* wanted */
	struct remains *remains;

	pthread_mutex_t lock; /* a leaf; all below */
	pthread_cond_t changed;
	uint64_t used_bytes;
	unsigned int spaces;
	bool changing;   /* somebody works on the reserve */
	int64_t settled_ms; /* changing; when the file system was made to commit last */
	int reserve_fd;  /* set once, while changing; -1: there was no room for it yet */
	bool counted;    /* the file system has no fallocate */
};

struct space {
	struct space_pool *pool;
	uint64_t quota_bytes; /* pool->lock */
	uint64_t used_bytes;  /* pool->lock */
};

/* What others than the file system's administrator may still allocate. */
static uint64_t fs_free(int fd)
{
	struct statvfs fs;

	/* One that does not say how large it is (some network file systems)
	 * has no limit that could be told in advance. */
	if (fstatvfs(fd, &fs) < 0 || fs.f_blocks == 0)
		return UINT64_MAX;
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static uint64_t reserve_wanted(int fd)
{
	struct statvfs fs;
	uint64_t size;

	if (fstatvfs(fd, &fs) < 0 || fs.f_blocks == 0)
		return SPACE_RESERVE_BYTES;
	size = (uint64_t)fs.f_blocks * fs.f_frsize;
	size = min_u64(max_u64(size / SPACE_RESERVE_FRACTION, SPACE_RESERVE_LEAST_BYTES),
		min_u64(SPACE_RESERVE_BYTES, size / SPACE_RESERVE_SMALL_FRACTION));
	return round_down(size, FILL_UNIT_BYTES);
}

static bool no_space(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT;
}

/* ---- the reserve file ---- */

static int open_reserve(const struct io_gate *io, int dirfd, int flags)
{
	struct stat st;
	int fd = io->openat(io, dirfd, RESERVE_FILE, O_RDWR | O_NOFOLLOW | O_NONBLOCK | flags,
		RESERVE_MODE);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	io->close(io, fd);
	return -EUCLEAN;
}

static uint64_t file_size(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void begin_change(struct space_pool *pool)
{
	SCOPED_LOCK(&pool->lock);

	while (pool->changing)
		pthread_cond_wait(&pool->changed, &pool->lock);
	pool->changing = true;
}

static void end_change(struct space_pool *pool)
{
	SCOPED_LOCK(&pool->lock);

	pool->changing = false;
	pthread_cond_broadcast(&pool->changed);
}

static bool is_counted(struct space_pool *pool)
{
	SCOPED_LOCK(&pool->lock);

	return pool->counted;
}

/* Allocate [from, to) of the file; what cannot be allocated whole is cut off. */
static int allocate(struct space_pool *pool, uint64_t from, uint64_t to)
{
	const struct io_gate *io = pool->io;
	int rc = to > from ? io->fallocate(io, pool->reserve_fd, 0, from, to - from) : 0;

	if (rc < 0)
		io->ftruncate(io, pool->reserve_fd, from);
	if (rc == -EOPNOTSUPP || rc == -ENOSYS) {
		SCOPED_LOCK(&pool->lock);

		pool->counted = true;
		rc = 0;
	}
	return rc;
}

/* What is there from an earlier run, or from a copy of the store that left its
 * blocks away, is made sure of; too much of it is given back. */
static int first_fill(struct space_pool *pool)
{
	const struct io_gate *io = pool->io;
	uint64_t size;
	int rc = open_reserve(io, pool->dirfd, O_CREAT);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&pool->lock);
	pool->reserve_fd = rc;
	pthread_mutex_unlock(&pool->lock);
	size = min_u64(file_size(pool->reserve_fd), pool->reserve_bytes);
	rc = io->ftruncate(io, pool->reserve_fd, size);
	return rc == 0 ? allocate(pool, 0, size) : rc;
}

/* As much of what is missing as the file system has. [changing] */
static int fill(struct space_pool *pool)
{
	uint64_t size, free_bytes;
	int rc = 0;

	if (pool->reserve_fd < 0)
		rc = first_fill(pool);
	if (rc < 0 || is_counted(pool))
		return rc;
	size = file_size(pool->reserve_fd);
	if (size >= pool->reserve_bytes)
		return 0;
	free_bytes = round_down(fs_free(pool->dirfd), FILL_UNIT_BYTES);
	rc = allocate(pool, size, size + min_u64(pool->reserve_bytes - size, free_bytes));
	return rc == 0 && file_size(pool->reserve_fd) < pool->reserve_bytes ? -ENOSPC : rc;
}

/* The reserve's part in what the file system lacks for bytes. [changing] */
static void spend(struct space_pool *pool, uint64_t bytes)
{
	const struct io_gate *io = pool->io;
	uint64_t size = file_size(pool->reserve_fd);
	uint64_t free_bytes = fs_free(pool->dirfd);
	uint64_t need = bytes + SPACE_MARGIN_BYTES;

	if (free_bytes < need && size > 0)
		io->ftruncate(io, pool->reserve_fd, size - min_u64(size, need - free_bytes));
}

int space_spend(const struct io_gate *io, int store_dirfd, uint64_t bytes)
{
	uint64_t size;
	int rc, fd;

	if (!io)
		io = &io_kernel;
	fd = open_reserve(io, store_dirfd, 0);
	if (fd < 0)
		return fd == -ENOENT ? -ENOSPC : fd;
	size = file_size(fd);
	rc = size < bytes ? -ENOSPC : io->ftruncate(io, fd, size - bytes);
	io->close(io, fd);
	return rc;
}

struct remains *space_pool_remains(const struct space_pool *pool)
{
	return pool->remains;
}

void space_pool_refill(struct space_pool *pool)
{
	begin_change(pool);
	fill(pool);
	end_change(pool);
}

int space_pool_open(const struct io_gate *io, int store_dirfd, uint64_t quota_bytes,
	struct space_pool **ret_pool, struct err *err)
{
	struct space_pool *pool = calloc(1, sizeof(*pool));
	int rc;

	if (!pool)
		return err_sys(err, -ENOMEM, "store");
	pool->remains = remains_new();
	pool->io = io ? io : &io_kernel;
	pool->dirfd = store_dirfd;
	pool->quota_bytes = quota_bytes;
	pool->reserve_bytes = reserve_wanted(store_dirfd);
	pool->reserve_fd = -1;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->changed, NULL);
	rc = pool->remains ? fill(pool) : -ENOMEM;
	if (rc < 0 && !no_space(rc)) {
		space_pool_close(pool);
		return err_sys(err, rc, "store: file " RESERVE_FILE);
	}
	*ret_pool = pool;
	return 0;
}

void space_pool_close(struct space_pool *pool)
{
	if (!pool)
		return;
	assert(pool->spaces == 0);
	remains_free(pool->remains);
	if (pool->reserve_fd >= 0)
		pool->io->close(pool->io, pool->reserve_fd);
	pthread_cond_destroy(&pool->changed);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

/* ---- clones ---- */

int space_new(struct space_pool *pool, uint64_t quota_bytes, struct space **ret_space)
{
	struct space *space = calloc(1, sizeof(*space));

	if (!space)
		return -ENOMEM;
	space->pool = pool;
	space->quota_bytes = quota_bytes;
	SCOPED_LOCK(&pool->lock);
	pool->spaces++;
	*ret_space = space;
	return 0;
}

void space_free(struct space *space)
{
	if (!space)
		return;
	pthread_mutex_lock(&space->pool->lock);
	space->pool->used_bytes -= space->used_bytes;
	space->pool->spaces--;
	pthread_mutex_unlock(&space->pool->lock);
	free(space);
}

void space_set_quota(struct space *space, uint64_t quota_bytes)
{
	SCOPED_LOCK(&space->pool->lock);

	space->quota_bytes = quota_bytes;
}

static void count_locked(struct space *space, int64_t bytes)
{
	/* Nobody gives back what he did not take. */
	assert(bytes >= 0 || space->used_bytes >= (uint64_t)-bytes);
	space->used_bytes += (uint64_t)bytes;
	space->pool->used_bytes += (uint64_t)bytes;
}

void space_adopt(struct space *space, int64_t bytes)
{
	if (!space)
		return;
	SCOPED_LOCK(&space->pool->lock);
	count_locked(space, bytes);
}

/* 0: no quota. */
static uint64_t quota_left(uint64_t quota_bytes, uint64_t used_bytes)
{
	if (quota_bytes == 0)
		return UINT64_MAX;
	return quota_bytes > used_bytes ? quota_bytes - used_bytes : 0;
}

static int take_from_quotas(struct space *space, uint64_t bytes, bool urgent)
{
	struct space_pool *pool = space->pool;
	SCOPED_LOCK(&pool->lock);

	if (!urgent && (quota_left(space->quota_bytes, space->used_bytes) < bytes ||
		quota_left(pool->quota_bytes, pool->used_bytes) < bytes))
		return -ENOSPC;
	count_locked(space, (int64_t)bytes);
	return 0;
}

/* A copy-on-write file system counts what was deleted as free only after its
 * next commit, which may be half a minute away. True: it was made to commit
 * now. [changing] */
static bool settle(struct space_pool *pool)
{
	int64_t now_ms = clock_now_ms();

	if (pool->settled_ms != 0 && now_ms - pool->settled_ms < SPACE_SETTLE_MS)
		return false;
	pool->settled_ms = now_ms;
	return syncfs(pool->dirfd) == 0;
}

/* May a guest have bytes of what the file system says is free? [changing] */
static int admit_now(struct space_pool *pool, uint64_t bytes)
{
	uint64_t kept;
	int rc = fill(pool);

	if (rc < 0)
		return no_space(rc) ? -ENOSPC : rc;
	kept = is_counted(pool) ? pool->reserve_bytes : 0;
	return outside(kept, bytes, fs_free(pool->dirfd)) ? -ENOSPC : 0;
}

/* [changing] */
static int admit(struct space_pool *pool, uint64_t bytes)
{
	int rc = admit_now(pool, bytes);

	/* What was thrown away a moment ago must not pause a guest. */
	if (rc == -ENOSPC && remains_let_go(pool->remains))
		rc = admit_now(pool, bytes);
	return rc == -ENOSPC && settle(pool) ? admit_now(pool, bytes) : rc;
}

int space_take(struct space *space, uint64_t bytes, bool urgent)
{
	int rc;

	if (!space)
		return 0;
	rc = take_from_quotas(space, bytes, urgent);
	if (rc < 0)
		return rc;
	begin_change(space->pool);
	if (urgent)
		spend(space->pool, bytes);
	else
		rc = admit(space->pool, bytes);
	end_change(space->pool);
	if (rc < 0)
		space_adopt(space, -(int64_t)bytes);
	return rc;
}

void space_give(struct space *space, uint64_t bytes)
{
	if (!space)
		return;
	space_adopt(space, -(int64_t)bytes);
	space_pool_refill(space->pool);
}

/* ---- what there is ---- */

static uint64_t reserve_size(struct space_pool *pool)
{
	int fd;

	pthread_mutex_lock(&pool->lock);
	fd = pool->reserve_fd;
	pthread_mutex_unlock(&pool->lock);
	return file_size(fd);
}

void space_pool_info(struct space_pool *pool, struct space_info *ret_info)
{
	uint64_t filled = reserve_size(pool);
	uint64_t missing = pool->reserve_bytes - min_u64(filled, pool->reserve_bytes);
	uint64_t free_bytes = fs_free(pool->dirfd);
	SCOPED_LOCK(&pool->lock);

	*ret_info = (struct space_info){
		.store_used_bytes = pool->used_bytes,
		.store_quota_bytes = pool->quota_bytes,
		.reserve_bytes = pool->reserve_bytes,
		.reserve_filled_bytes = filled,
		.reserve_counted = pool->counted,
		.free_bytes = min_u64(free_bytes > missing ? free_bytes - missing : 0,
			quota_left(pool->quota_bytes, pool->used_bytes)),
	};
}

void space_info(struct space *space, struct space_info *ret_info)
{
	space_pool_info(space->pool, ret_info);
	SCOPED_LOCK(&space->pool->lock);
	ret_info->used_bytes = space->used_bytes;
	ret_info->quota_bytes = space->quota_bytes;
	ret_info->free_bytes = min_u64(ret_info->free_bytes,
		quota_left(space->quota_bytes, space->used_bytes));
}
