/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File I/O: whole reads and writes, durable names, and the store's gate to the file system.
 *
 * Functions return 0 or -errno (counts where said). Buffers come as
 * (buf, len, off). Every descriptor is close-on-exec from birth.
 *
 * The gate. Whatever fs/store does to the file system goes through a
 * `struct io_gate`: &io_kernel in the product, a recorder or a saboteur in
 * tests (power cuts, failing calls). Slots behave as the system call of the
 * same name and return its result or -errno; none may be NULL. Descriptors
 * are real kernel descriptors in every gate.
 */
#ifndef FS_UTIL_IO_H
#define FS_UTIL_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct io_gate {
	int (*openat)(const struct io_gate *io, int dirfd, const char *name, int flags, mode_t mode);
	int (*close)(const struct io_gate *io, int fd);
	int (*mkdirat)(const struct io_gate *io, int dirfd, const char *name, mode_t mode);
	int (*unlinkat)(const struct io_gate *io, int dirfd, const char *name, int flags);
	/* renameat2: flags 0 or RENAME_NOREPLACE. */
	int (*renameat)(const struct io_gate *io, int fromfd, const char *from, int tofd,
		const char *to, unsigned int flags);
	/* A second name for the file that from is, without following a link. */
	int (*linkat)(const struct io_gate *io, int fromfd, const char *from, int tofd,
		const char *to);
	ssize_t (*pread)(const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off);
	/* Only what needs no waiting for a device: -EAGAIN otherwise. */
	ssize_t (*pread_nowait)(
		const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off);
	ssize_t (*pwritev)(const struct io_gate *io, int fd, const struct iovec *iov, int count,
		uint64_t off);
	int (*fallocate)(const struct io_gate *io, int fd, int mode, uint64_t off, uint64_t len);
	int (*ftruncate)(const struct io_gate *io, int fd, uint64_t size);
	/* Start write-back of a range; no durability, no waiting. */
	int (*start_writeback)(const struct io_gate *io, int fd, uint64_t off, uint64_t len);
	int (*fdatasync)(const struct io_gate *io, int fd);
	/* Of a file or a directory. */
	int (*fsync)(const struct io_gate *io, int fd);
};

extern const struct io_gate io_kernel;

/* pread until len bytes are read; -ENODATA if the file ends before. */
int io_read_full(const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off);

/* pwritev until all is written. iov is consumed (its entries are moved on). */
int io_writev_full(const struct io_gate *io, int fd, struct iovec *iov, int count, uint64_t off);
int io_write_full(const struct io_gate *io, int fd, const void *buf, size_t len, uint64_t off);

/* Make a small file with this content and fdatasync it; its directory is not
 * synced. For places nobody looks at yet; elsewhere io_publish(). */
int io_write_file(const struct io_gate *io, int dirfd, const char *name, const void *data,
	size_t len, mode_t mode);

/* Open dir/name relative to dirfd and fsync it; "." for dirfd itself. */
int io_fsync_dir(const struct io_gate *io, int dirfd, const char *name);

/* mkdir -p, each new name durable in its parent. The parents that are missing
 * are for all to pass, whoever may enter the last one. 0 if it was there. */
#define IO_PARENT_MODE 0755
int io_make_dirs(const struct io_gate *io, const char *path, mode_t mode);

/* Publish a small file: NAME.tmp, write, fdatasync, rename over NAME, fsync
 * of the directory. Either the old or the new content is there after a
 * crash, the new one durably once this returned 0. */
int io_publish(const struct io_gate *io, int dirfd, const char *name, const void *data, size_t len,
	mode_t mode);

/* Read a whole file of at most max bytes into a NUL-terminated heap buffer.
 * -EFBIG if it is larger. Caller frees *ret_data. */
int io_slurp(const struct io_gate *io, int dirfd, const char *name, size_t max, char **ret_data,
	size_t *ret_len);

/* Open file description lock on bytes [off, off + len): shared or exclusive,
 * without waiting. -EAGAIN when somebody else holds a conflicting one, the
 * file system's errno (ENOLCK, EINVAL, ...) when it has no such locks. */
int io_lock(int fd, bool exclusive, uint64_t off, uint64_t len);

/* The same, but wait for whoever holds a conflicting one. */
int io_lock_wait(int fd, bool exclusive, uint64_t off, uint64_t len);

/* Would an exclusive lock on the range conflict? 1 yes, 0 no, -errno. */
int io_lock_test(int fd, uint64_t off, uint64_t len);

#endif
