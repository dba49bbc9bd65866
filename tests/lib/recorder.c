/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The recording gate: see recorder.h.
 *
 * A call and its record are one step under the lock, so the record's order is
 * the kernel's. The tree of names is followed in an image without content, to
 * know which node a name means at each moment.
 */
#include "tests/lib/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/cleanup.h"
#include "fs/util/round.h"

#define FDS_MAX 1024

struct recorder {
	struct io_gate gate; /* first: a gate is its recorder */
	const struct io_gate *inner;
	char *root;
	struct image *start;

	pthread_mutex_t lock; /* all below */
	struct image *now;    /* names only */
	uint32_t node_of_fd[FDS_MAX];
	struct op *ops;
	size_t n_ops;
};

static struct recorder *self(const struct io_gate *io)
{
	return (struct recorder *)(uintptr_t)io;
}

static struct op *add_op_locked(struct recorder *rec, enum op_kind kind, uint32_t node)
{
	rec->ops = need_memory(reallocarray(rec->ops, rec->n_ops + 1, sizeof(*rec->ops)));
	memset(&rec->ops[rec->n_ops], 0, sizeof(*rec->ops));
	rec->ops[rec->n_ops].kind = kind;
	rec->ops[rec->n_ops].node = node;
	return &rec->ops[rec->n_ops++];
}

static uint32_t node_of(const struct recorder *rec, int fd)
{
	return fd >= 0 && fd < FDS_MAX ? rec->node_of_fd[fd] : IMAGE_NONE;
}

/* The node from which the walk of *path starts; *path loses the root's own
 * part. IMAGE_NONE: not below our root. */
static uint32_t start_of(const struct recorder *rec, int dirfd, const char **path)
{
	size_t len = strlen(rec->root);

	if ((*path)[0] != '/')
		return node_of(rec, dirfd);
	if (strncmp(*path, rec->root, len) != 0 || ((*path)[len] && (*path)[len] != '/'))
		return IMAGE_NONE;
	*path += len;
	return IMAGE_ROOT;
}

/* The directory of path and its last name; a change outside the root would
 * make the record a lie, so it ends the program. */
static uint32_t parent_of(const struct recorder *rec, int dirfd, const char *path,
	const char **ret_name)
{
	AUTO_FREE char *head = NULL;
	uint32_t node = start_of(rec, dirfd, &path);
	const char *slash = strrchr(path, '/');

	*ret_name = slash ? slash + 1 : path;
	head = need_memory(strndup(path, slash ? (size_t)(slash - path) : 0));
	node = node == IMAGE_NONE ? IMAGE_NONE : image_walk(rec->now, node, head);
	if (node == IMAGE_NONE) {
		fprintf(stderr, "recorder: %s changes what is not below %s\n", path, rec->root);
		abort();
	}
	return node;
}

static uint32_t record_create_locked(struct recorder *rec, int dirfd, const char *path,
	enum op_kind kind)
{
	const char *name;
	uint32_t dir = parent_of(rec, dirfd, path, &name);
	uint32_t node = image_add_node(rec->now, kind == OP_MKDIR);
	struct op *op = add_op_locked(rec, kind, node);

	op->dir = dir;
	op->name = need_memory(strdup(name));
	image_link(rec->now, dir, name, node);
	return node;
}

static int rec_openat(
	const struct io_gate *io, int dirfd, const char *path, int flags, mode_t mode)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	const char *rest = path;
	uint32_t node = start_of(rec, dirfd, &rest);
	int fd = rec->inner->openat(rec->inner, dirfd, path, flags, mode);

	if (fd < 0)
		return fd;
	if (fd >= FDS_MAX) {
		fprintf(stderr, "recorder: too many open files\n");
		abort();
	}
	if (node != IMAGE_NONE)
		node = image_walk(rec->now, node, rest);
	if (node == IMAGE_NONE && (flags & O_CREAT))
		node = record_create_locked(rec, dirfd, path, OP_CREATE);
	else if (node != IMAGE_NONE && (flags & O_TRUNC))
		add_op_locked(rec, OP_RESIZE, node);
	rec->node_of_fd[fd] = node;
	return fd;
}

static int rec_close(const struct io_gate *io, int fd)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);

	if (fd >= 0 && fd < FDS_MAX)
		rec->node_of_fd[fd] = IMAGE_NONE;
	return rec->inner->close(rec->inner, fd);
}

static int rec_mkdirat(const struct io_gate *io, int dirfd, const char *path, mode_t mode)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	int rc = rec->inner->mkdirat(rec->inner, dirfd, path, mode);

	if (rc == 0)
		record_create_locked(rec, dirfd, path, OP_MKDIR);
	return rc;
}

static int rec_unlinkat(const struct io_gate *io, int dirfd, const char *path, int flags)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	int rc = rec->inner->unlinkat(rec->inner, dirfd, path, flags);
	const char *name;
	uint32_t dir;
	struct op *op;

	if (rc < 0)
		return rc;
	dir = parent_of(rec, dirfd, path, &name);
	op = add_op_locked(rec, OP_UNLINK, image_walk(rec->now, dir, name));
	op->dir = dir;
	op->name = need_memory(strdup(name));
	image_unlink(rec->now, dir, name);
	return 0;
}

static int rec_linkat(
	const struct io_gate *io, int fromfd, const char *from, int tofd, const char *to)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	int rc = rec->inner->linkat(rec->inner, fromfd, from, tofd, to);
	const char *name;
	uint32_t dir;
	struct op *op;

	if (rc < 0)
		return rc;
	dir = parent_of(rec, fromfd, from, &name);
	op = add_op_locked(rec, OP_LINK, image_walk(rec->now, dir, name));
	op->dir = parent_of(rec, tofd, to, &name);
	op->name = need_memory(strdup(name));
	image_link(rec->now, op->dir, name, op->node);
	return 0;
}

static int rec_renameat(const struct io_gate *io, int fromfd, const char *from, int tofd,
	const char *to, unsigned int flags)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	int rc = rec->inner->renameat(rec->inner, fromfd, from, tofd, to, flags);
	const char *name;
	const char *to_name;
	uint32_t dir;
	uint32_t to_dir;
	struct op *op;

	if (rc < 0)
		return rc;
	dir = parent_of(rec, fromfd, from, &name);
	to_dir = parent_of(rec, tofd, to, &to_name);
	op = add_op_locked(rec, OP_RENAME, image_walk(rec->now, dir, name));
	op->dir = dir;
	op->to_dir = to_dir;
	op->name = need_memory(strdup(name));
	op->to_name = need_memory(strdup(to_name));
	image_link(rec->now, to_dir, to_name, op->node);
	image_unlink(rec->now, dir, name);
	return 0;
}

static ssize_t rec_pread(const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	struct recorder *rec = self(io);

	return rec->inner->pread(rec->inner, fd, buf, len, off);
}

static ssize_t rec_pread_nowait(
	const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	struct recorder *rec = self(io);

	return rec->inner->pread_nowait(rec->inner, fd, buf, len, off);
}

static ssize_t rec_pwritev(
	const struct io_gate *io, int fd, const struct iovec *iov, int count, uint64_t off)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	ssize_t n = rec->inner->pwritev(rec->inner, fd, iov, count, off);
	struct op *op;
	size_t done = 0;

	if (n <= 0)
		return n;
	op = add_op_locked(rec, OP_WRITE, node_of(rec, fd));
	op->off = off;
	op->len = (uint64_t)n;
	op->data = need_memory(malloc((size_t)n));
	for (int i = 0; i < count && done < (size_t)n; i++) {
		size_t part = min_u64(iov[i].iov_len, (size_t)n - done);

		memcpy(op->data + done, iov[i].iov_base, part);
		done += part;
	}
	return n;
}

static int rec_fallocate(const struct io_gate *io, int fd, int mode, uint64_t off, uint64_t len)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	int rc = rec->inner->fallocate(rec->inner, fd, mode, off, len);
	struct op *op;

	if (rc < 0)
		return rc;
	op = add_op_locked(rec, OP_ALLOC, node_of(rec, fd));
	op->mode = mode;
	op->off = off;
	op->len = len;
	return 0;
}

static int rec_ftruncate(const struct io_gate *io, int fd, uint64_t size)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	int rc = rec->inner->ftruncate(rec->inner, fd, size);

	if (rc == 0)
		add_op_locked(rec, OP_RESIZE, node_of(rec, fd))->off = size;
	return rc;
}

static int rec_start_writeback(const struct io_gate *io, int fd, uint64_t off, uint64_t len)
{
	struct recorder *rec = self(io);

	return rec->inner->start_writeback(rec->inner, fd, off, len);
}

static int rec_fdatasync(const struct io_gate *io, int fd)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	int rc = rec->inner->fdatasync(rec->inner, fd);

	if (rc == 0)
		add_op_locked(rec, OP_SYNC, node_of(rec, fd));
	return rc;
}

static int rec_fsync(const struct io_gate *io, int fd)
{
	struct recorder *rec = self(io);
	SCOPED_LOCK(&rec->lock);
	int rc = rec->inner->fsync(rec->inner, fd);

	if (rc == 0)
		add_op_locked(rec, OP_SYNC, node_of(rec, fd));
	return rc;
}

static const struct io_gate recording = {
	.openat = rec_openat,
	.close = rec_close,
	.mkdirat = rec_mkdirat,
	.unlinkat = rec_unlinkat,
	.renameat = rec_renameat,
	.linkat = rec_linkat,
	.pread = rec_pread,
	.pread_nowait = rec_pread_nowait,
	.pwritev = rec_pwritev,
	.fallocate = rec_fallocate,
	.ftruncate = rec_ftruncate,
	.start_writeback = rec_start_writeback,
	.fdatasync = rec_fdatasync,
	.fsync = rec_fsync,
};

struct recorder *recorder_new(
	const char *root, const struct image *start, const struct io_gate *inner)
{
	struct recorder *rec = need_memory(calloc(1, sizeof(*rec)));

	rec->gate = recording;
	rec->inner = inner;
	rec->root = need_memory(strdup(root));
	rec->start = start ? image_copy(start) : image_new();
	rec->now = image_copy_names(rec->start);
	pthread_mutex_init(&rec->lock, NULL);
	for (int fd = 0; fd < FDS_MAX; fd++)
		rec->node_of_fd[fd] = IMAGE_NONE;
	return rec;
}

void recorder_free(struct recorder *rec)
{
	if (!rec)
		return;
	for (size_t i = 0; i < rec->n_ops; i++) {
		free(rec->ops[i].name);
		free(rec->ops[i].to_name);
		free(rec->ops[i].data);
	}
	free(rec->ops);
	image_free(rec->now);
	image_free(rec->start);
	pthread_mutex_destroy(&rec->lock);
	free(rec->root);
	free(rec);
}

const struct io_gate *recorder_gate(struct recorder *rec)
{
	return &rec->gate;
}

int recorder_open_root(struct recorder *rec)
{
	return rec_openat(&rec->gate, AT_FDCWD, rec->root, O_RDONLY | O_DIRECTORY, 0);
}

size_t recorder_length(struct recorder *rec)
{
	SCOPED_LOCK(&rec->lock);

	return rec->n_ops;
}

const struct op *recorder_op(const struct recorder *rec, size_t i)
{
	return &rec->ops[i];
}

const struct image *recorder_start(const struct recorder *rec)
{
	return rec->start;
}

void recorder_print(const struct recorder *rec, size_t end)
{
	static const char *const kinds[] = {
		"create", "mkdir", "link", "rename", "unlink", "write", "alloc", "resize", "sync"};

	for (size_t i = 0; i < end && i < rec->n_ops; i++) {
		const struct op *op = &rec->ops[i];

		fprintf(stderr, "  %3zu %-6s node %u", i, kinds[op->kind], op->node);
		if (op->name)
			fprintf(stderr, " %u/%s", op->dir, op->name);
		if (op->to_name)
			fprintf(stderr, " to %u/%s", op->to_dir, op->to_name);
		if (op->kind >= OP_WRITE && op->kind <= OP_RESIZE)
			fprintf(stderr, " %llu+%llu", (unsigned long long)op->off,
				(unsigned long long)op->len);
		fputc('\n', stderr);
	}
}
