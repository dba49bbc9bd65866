/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libfuse as this room uses it: one version, and what that version does not name yet. */
#ifndef FS_MOUNT_FUSE_H
#define FS_MOUNT_FUSE_H

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)

#include <fuse_lowlevel.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* Bits of the kernel's answer to OPEN. */
#ifndef FOPEN_DIRECT_IO
#define FOPEN_DIRECT_IO (1u << 0)
#endif
#ifndef FOPEN_NOFLUSH
#define FOPEN_NOFLUSH (1u << 5)
#endif
#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1u << 6)
#endif

/* The kernel's struct fuse_open_out: fuse_reply_open() of 3.14 can set neither
 * FOPEN_NOFLUSH nor FOPEN_PARALLEL_DIRECT_WRITES, and without the latter every
 * O_DIRECT write of a disk waits for the one before it. */
struct open_answer {
	uint64_t fh;
	uint32_t open_flags;
	uint32_t padding;
};
_Static_assert(sizeof(struct open_answer) == 16, "the kernel's struct fuse_open_out");

/* The one ioctl a guest's QEMU asks for: which alignment does O_DIRECT need?
 * Without an answer it guesses 4096 and turns each 512-byte write of the guest
 * into a read, a merge and a write. */
struct dio_info {
	uint32_t memory_align;
	uint32_t min_io_bytes;
	uint32_t max_io_bytes;
};
#ifndef XFS_IOC_DIOINFO
#define XFS_IOC_DIOINFO _IOR('X', 30, struct dio_info)
#endif

#endif
