/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the bases: an original image, read-only, held against change.
 *
 * A base is a raw image file or a block device that clones read through to.
 * It must stay what it was when the first clone was made. Three things see
 * to that:
 *
 *	identity   recorded in each clone's manifest, compared at every open:
 *	           file: file-system id (f_fsid), inode, size, mtime, content
 *	           sample; device: stable id, size, content sample. A remount, a
 *	           reboot, a chown or a failed start is not a change.
 *	locks      QEMU's own image locks (OFD read locks on bytes 100 = uses
 *	           consistent read, 201 and 203 = shares neither write nor
 *	           resize), so that no QEMU process, root's included, can open it
 *	           for writing.
 *	lease      a read lease (F_SETLEASE) on a file: before anybody opens it
 *	           for writing the base is suspended (reads wait), the lease is
 *	           given back, and when the writer has gone the identity is
 *	           compared: unchanged, reads go on; changed, they fail for ever.
 *
 *	base_identify(path)        at cloning: the text that goes into the manifest
 *	base_hold(path, identity)  open, compare, lock; shared by all disks on it
 *	base_read / base_map
 *	base_release
 *
 * Holds of the same file are one object inside, counted. All functions may be
 * called from any thread. The room runs one watcher thread per held base (its
 * lease; where there is none, a look at the identity every second). It keeps
 * SIGRTMIN + 5 for it, in that thread only. Do not fork while a base is held.
 *
 * Errors: -ESTALE changed, moved or gone (message names it and says what
 * differs); -EBUSY open for writing by somebody (a running machine);
 * -EACCES; -EOPNOTSUPP not a raw file or block device; -ENOENT where no
 * identity was asked for; -EUCLEAN the identity is not one.
 */
#ifndef FS_BASE_BASE_H
#define FS_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/util/err.h"

#define BASE_IDENTITY_MAX 4096 /* bytes of identity text: a dozen short fields */

/* How long a read waits for a suspended base before it fails with -EIO. */
#define BASE_SUSPEND_LIMIT_MS 10000

struct base;

enum base_state {
	BASE_READY,
	BASE_SUSPENDED, /* somebody has it open for writing; reads wait */
	BASE_CHANGED,   /* differs from its identity; reads fail with -EIO */
};

struct base_info {
	const char *path; /* valid as long as the base is held */
	uint64_t size_bytes;
	uint64_t allocated_bytes;
	enum base_state state;
	bool leased;    /* false: the file system or our rights allow no lease */
	bool moved;     /* leased: its path does not lead to it now, and nobody can open it again */
	uint32_t holds; /* counted over all users */
};

/* Describe the image at path as it is now. Caller frees *ret_identity; text,
 * one line, no control characters. Refuses what cannot be a base, and what
 * somebody has open for writing under QEMU's locks. */
int base_identify(const char *path, char **ret_identity, uint64_t *ret_size_bytes,
	struct err *err);

/* Are both the same image in the same state? Used to find a hold. */
bool base_identity_equal(const char *a, const char *b);

/* Open and protect. identity NULL: as it is now (before the first manifest). */
int base_hold(const char *path, const char *identity, struct base **ret_base, struct err *err);
struct base *base_ref(struct base *base);
void base_release(struct base *base); /* NULL allowed */

/* The identity it is held under; valid as long as it is held. */
const char *base_identity(const struct base *base);

/* Read exactly len bytes at off; what lies beyond the end reads as zeros.
 * 0 or -errno: -EIO also when suspended for too long or changed. With nowait:
 * -EAGAIN instead of waiting for a device or a suspended base. */
int base_read(struct base *base, void *buf, size_t len, uint64_t off, bool nowait);

/* Is off in a hole (reads as zeros)? *ret_run: bytes from off with the same
 * answer, at most len, at least 1. Beyond the end is a hole. Where the file
 * system cannot tell, all is data. Never waits. */
bool base_hole(struct base *base, uint64_t off, uint64_t len, uint64_t *ret_run);

void base_info(struct base *base, struct base_info *ret_info);

#endif
