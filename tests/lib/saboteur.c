/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Failing and lying calls: see saboteur.h. */
#include "tests/lib/saboteur.h"

#include <errno.h>
#include <string.h>

#include "fs/util/cleanup.h"

const char *const saboteur_call_names[N_CALLS] = {"openat", "mkdirat", "unlinkat", "renameat",
	"linkat", "pread", "pwritev", "fallocate", "ftruncate", "sync"};

static struct saboteur *self(const struct io_gate *io)
{
	return (struct saboteur *)(uintptr_t)io;
}

static const char *end_of(const char *name)
{
	size_t len = strlen(name);

	return len < SABOTEUR_NAME_END ? name : name + len - (SABOTEUR_NAME_END - 1);
}

/* Is it a file that is aimed at? */
static bool is_target(const struct saboteur *sab, const char *name)
{
	size_t len = strlen(name), end = sab->suffix ? strlen(sab->suffix) : 0;

	return len >= end && strcmp(name + len - end, sab->suffix ? sab->suffix : "") == 0;
}

/* Count a call on the file called name; what is to happen to it? */
static enum sabotage strike(struct saboteur *sab, enum sabotaged_call call, const char *name)
{
	if (sab->hook)
		sab->hook(sab->hook_ctx, call);
	SCOPED_LOCK(&sab->lock);

	if (!is_target(sab, name))
		return SABOTAGE_NONE;
	sab->count[call]++;
	if (call == CALL_PWRITEV && sab->fail_next) {
		sab->fail_next = false;
		return SABOTAGE_FAIL;
	}
	if (sab->kind == SABOTAGE_NONE || call != sab->call)
		return SABOTAGE_NONE;
	if (sab->nth != 0 && sab->nth != sab->count[call])
		return SABOTAGE_NONE;
	sab->hits++;
	strcpy(sab->hit_name, end_of(name));
	sab->fail_next = sab->kind == SABOTAGE_SHORT;
	return sab->kind;
}

static enum sabotage strike_fd(struct saboteur *sab, enum sabotaged_call call, int fd)
{
	char name[SABOTEUR_NAME_END] = "";

	if (fd >= 0 && fd < SABOTEUR_FDS) {
		SCOPED_LOCK(&sab->lock);
		memcpy(name, sab->name_end[fd], sizeof(name));
	}
	return strike(sab, call, name);
}

static int sab_openat(
	const struct io_gate *io, int dirfd, const char *name, int flags, mode_t mode)
{
	struct saboteur *sab = self(io);
	int fd;

	if (strike(sab, CALL_OPENAT, name) != SABOTAGE_NONE)
		return sab->error;
	fd = sab->inner->openat(sab->inner, dirfd, name, flags, mode);
	if (fd >= 0 && fd < SABOTEUR_FDS) {
		SCOPED_LOCK(&sab->lock);
		strcpy(sab->name_end[fd], end_of(name));
	}
	return fd;
}

static int sab_close(const struct io_gate *io, int fd)
{
	return self(io)->inner->close(self(io)->inner, fd);
}

/* The result of a call that returns 0, when it is struck; 1: go on. */
static int result_of(const struct saboteur *sab, enum sabotage kind)
{
	return kind == SABOTAGE_NONE ? 1 : kind == SABOTAGE_LIE ? 0 : sab->error;
}

static int struck(struct saboteur *sab, enum sabotaged_call call, const char *name)
{
	return result_of(sab, strike(sab, call, name));
}

static int struck_fd(struct saboteur *sab, enum sabotaged_call call, int fd)
{
	return result_of(sab, strike_fd(sab, call, fd));
}

static int sab_mkdirat(const struct io_gate *io, int dirfd, const char *name, mode_t mode)
{
	struct saboteur *sab = self(io);
	int rc = struck(sab, CALL_MKDIRAT, name);

	return rc <= 0 ? rc : sab->inner->mkdirat(sab->inner, dirfd, name, mode);
}

static int sab_unlinkat(const struct io_gate *io, int dirfd, const char *name, int flags)
{
	struct saboteur *sab = self(io);
	int rc = struck(sab, CALL_UNLINKAT, name);

	return rc <= 0 ? rc : sab->inner->unlinkat(sab->inner, dirfd, name, flags);
}

static int sab_renameat(const struct io_gate *io, int fromfd, const char *from, int tofd,
	const char *to, unsigned int flags)
{
	struct saboteur *sab = self(io);
	int rc = struck(sab, CALL_RENAMEAT, to);

	return rc <= 0 ? rc : sab->inner->renameat(sab->inner, fromfd, from, tofd, to, flags);
}

static int sab_linkat(
	const struct io_gate *io, int fromfd, const char *from, int tofd, const char *to)
{
	struct saboteur *sab = self(io);
	int rc = struck(sab, CALL_LINKAT, to);

	return rc <= 0 ? rc : sab->inner->linkat(sab->inner, fromfd, from, tofd, to);
}

static ssize_t sab_pread(const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	struct saboteur *sab = self(io);

	if (strike_fd(sab, CALL_PREAD, fd) != SABOTAGE_NONE)
		return sab->error;
	return sab->inner->pread(sab->inner, fd, buf, len, off);
}

static ssize_t sab_pread_nowait(
	const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	struct saboteur *sab = self(io);

	if (strike_fd(sab, CALL_PREAD, fd) != SABOTAGE_NONE)
		return sab->error;
	return sab->inner->pread_nowait(sab->inner, fd, buf, len, off);
}

static size_t total(const struct iovec *iov, int count)
{
	size_t bytes = 0;

	for (int i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

static ssize_t write_half(struct saboteur *sab, int fd, const struct iovec *iov, int count,
	uint64_t off)
{
	struct iovec part[64];
	size_t left = total(iov, count) / 2;
	int n = 0;

	for (; n < count && n < 64 && left > 0; n++) {
		part[n] = iov[n];
		if (part[n].iov_len > left)
			part[n].iov_len = left;
		left -= part[n].iov_len;
	}
	return sab->inner->pwritev(sab->inner, fd, part, n, off);
}

static ssize_t sab_pwritev(
	const struct io_gate *io, int fd, const struct iovec *iov, int count, uint64_t off)
{
	struct saboteur *sab = self(io);

	switch (strike_fd(sab, CALL_PWRITEV, fd)) {
	case SABOTAGE_FAIL:
		return sab->error;
	case SABOTAGE_SHORT:
		return write_half(sab, fd, iov, count, off);
	case SABOTAGE_LIE:
		return (ssize_t)total(iov, count);
	case SABOTAGE_NONE:
		break;
	}
	return sab->inner->pwritev(sab->inner, fd, iov, count, off);
}

static int sab_fallocate(const struct io_gate *io, int fd, int mode, uint64_t off, uint64_t len)
{
	struct saboteur *sab = self(io);
	int rc = struck_fd(sab, CALL_FALLOCATE, fd);

	return rc <= 0 ? rc : sab->inner->fallocate(sab->inner, fd, mode, off, len);
}

static int sab_ftruncate(const struct io_gate *io, int fd, uint64_t size)
{
	struct saboteur *sab = self(io);
	int rc = struck_fd(sab, CALL_FTRUNCATE, fd);

	return rc <= 0 ? rc : sab->inner->ftruncate(sab->inner, fd, size);
}

static int sab_start_writeback(const struct io_gate *io, int fd, uint64_t off, uint64_t len)
{
	return self(io)->inner->start_writeback(self(io)->inner, fd, off, len);
}

static int sab_fdatasync(const struct io_gate *io, int fd)
{
	struct saboteur *sab = self(io);
	int rc = struck_fd(sab, CALL_SYNC, fd);

	return rc <= 0 ? rc : sab->inner->fdatasync(sab->inner, fd);
}

static int sab_fsync(const struct io_gate *io, int fd)
{
	struct saboteur *sab = self(io);
	int rc = struck_fd(sab, CALL_SYNC, fd);

	return rc <= 0 ? rc : sab->inner->fsync(sab->inner, fd);
}

void saboteur_init(struct saboteur *sab, const struct io_gate *inner)
{
	memset(sab, 0, sizeof(*sab));
	sab->inner = inner;
	sab->error = -EIO;
	pthread_mutex_init(&sab->lock, NULL);
	sab->gate = (struct io_gate){
		.openat = sab_openat,
		.close = sab_close,
		.mkdirat = sab_mkdirat,
		.unlinkat = sab_unlinkat,
		.renameat = sab_renameat,
		.linkat = sab_linkat,
		.pread = sab_pread,
		.pread_nowait = sab_pread_nowait,
		.pwritev = sab_pwritev,
		.fallocate = sab_fallocate,
		.ftruncate = sab_ftruncate,
		.start_writeback = sab_start_writeback,
		.fdatasync = sab_fdatasync,
		.fsync = sab_fsync,
	};
}
