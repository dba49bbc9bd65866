/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the bases: original images, read-only, held against change.
 *
 * A base is what a clone's disk reads where nobody wrote: a raw image, a block
 * device, or a qcow2 image with the chain of images below it, at one of its
 * snapshots if so asked. Which files a base consists of is said by the caller
 * (struct base_source), never by the files: a name in an image is compared
 * with what the caller said, and refused when it is another.
 *
 * Every file of it must stay what it was when the first clone was made. Three
 * things see to that:
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
 *	base_identify(source)      at cloning: the text that goes into the manifest
 *	base_hold(source)          open as it is now, lock
 *	base_hold_known(path, identity)  open, compare, lock; shared by all disks on it
 *	base_read / base_hole
 *	base_release
 *
 * Holds of the same base, by the same paths, are one object inside, counted; so are files that
 * several bases have in common, with their caches. All functions may be
 * called from any thread. The room runs one watcher thread per held file (its
 * lease; where there is none, a look at the identity every second). It keeps
 * SIGRTMIN + 5 for it, in that thread only. Do not fork while a base is held.
 *
 * Errors: -ESTALE changed, moved or gone (message names the file and says what
 * differs); -EBUSY open for writing by somebody (a running machine);
 * -EACCES; -EOPNOTSUPP what cannot be a base (a feature of the image, named);
 * -EPERM the image names a file that the caller did not; -ENOENT where no
 * identity was asked for; -EUCLEAN the identity is not one. A damaged image is -EOPNOTSUPP.
 */
#ifndef FS_BASE_BASE_H
#define FS_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/util/err.h"

#define BASE_IDENTITY_MAX 32768 /* bytes of identity text: a file's is below 1 KiB plus its path */
#define BASE_SOURCE_MAX 32768   /* bytes of a source's text */
#define BASE_IMAGES_MAX 32      /* of one chain: each costs a look for what lies below it */
#define BASE_SNAPSHOT_MAX 255   /* bytes of a snapshot's id or name */

/* How long a read waits for a suspended base before it fails with -EIO. */
#define BASE_SUSPEND_LIMIT_MS 10000

/* One image of a chain. Formats: "raw", "qcow2". */
struct base_image {
	char *path;      /* absolute */
	char *format;
	char *data_path; /* its external data file, absolute; NULL: none is allowed */
};

/* The files of a base, the top first; the last one may have nothing below it. */
struct base_source {
	uint32_t n_images;
	struct base_image *images;
	char *snapshot; /* of the top image, by id or name; NULL: as it is now */
};

/* One raw image, or any chain as text (JSON, the control protocol's "source"):
 * checked on the way in: absolute plain paths, known formats, at most
 * BASE_IMAGES_MAX images, no file twice. -EUCLEAN: not such a text. */
int base_source_raw(const char *path, struct base_source **ret_source);
int base_source_format(const struct base_source *source, char **ret_text);
int base_source_parse(const char *text, struct base_source **ret_source, struct err *err);
void base_source_free(struct base_source *source); /* NULL allowed */

/* What the header of one image says it needs, without holding or trusting it:
 * for whoever decides what is allowed. Names are resolved against the image's
 * directory. Strings are the caller's: base_wants_clear(). */
struct base_wants {
	char *backing_path;   /* NULL: none */
	char *backing_format; /* NULL: not declared */
	char *data_path;      /* NULL: none */
	uint64_t size_bytes;  /* virtual */
};
int base_wants(const char *path, const char *format, struct base_wants *ret_wants, struct err *err);
void base_wants_clear(struct base_wants *wants);

struct base;

enum base_state {
	BASE_READY,
	BASE_SUSPENDED, /* somebody has it open for writing; reads wait */
	BASE_CHANGED,   /* differs from its identity; reads fail with -EIO */
};

struct base_info {
	const char *path; /* of the top; valid as long as the base is held */
	const char *format; /* of the top: "raw", "qcow2" */
	const char *trouble; /* the first file in that state, or moved; NULL: none; as long */
	uint64_t size_bytes;      /* what a guest sees */
	uint64_t allocated_bytes; /* of all files */
	enum base_state state;    /* the worst of its files' */
	bool leased;    /* all: false: the file system or our rights allow no lease */
	bool moved;     /* leased: a path does not lead to its file now, and nobody can open it again */
	uint32_t n_files;
	uint32_t holds; /* counted over all users */
};

/* Describe the images as they are now. Caller frees *ret_identity; text,
 * one line, no control characters. Refuses what cannot be a base, and what
 * somebody has open for writing under QEMU's locks. */
int base_identify(const struct base_source *source, char **ret_identity,
	uint64_t *ret_size_bytes, struct err *err);

/* Are both the same images in the same state? Used to find a hold. */
bool base_identity_equal(const char *a, const char *b);

/* The files that an identity names below the top at path; *ret_source has
 * their paths, formats and the snapshot. -EUCLEAN. */
int base_identity_source(const char *path, const char *identity,
	struct base_source **ret_source, struct err *err);

/* Open and protect: as the images are now (before the first manifest), or as
 * they were recorded. */
int base_hold(const struct base_source *source, struct base **ret_base, struct err *err);
int base_hold_known(const char *path, const char *identity, struct base **ret_base,
	struct err *err);
struct base *base_ref(struct base *base);
void base_release(struct base *base); /* NULL allowed */

/* The identity it is held under; valid as long as it is held. */
const char *base_identity(const struct base *base);

/* Read exactly len bytes at off; what lies beyond the end reads as zeros.
 * 0 or -errno: -EIO also when suspended for too long or changed, and where an
 * image is damaged. With nowait: -EAGAIN instead of waiting for a device, a
 * suspended base or a cluster being unpacked. */
int base_read(struct base *base, void *buf, size_t len, uint64_t off, bool nowait);

/* Does off read as zeros without data being read (a hole, a zero cluster,
 * nothing allocated in the whole chain)? *ret_run: bytes from off with the same
 * answer, at most len, at least 1. Beyond the end is a hole. Where it cannot be
 * told (also: a table cannot be read), all is data. May read tables, so it may wait. */
bool base_hole(struct base *base, uint64_t off, uint64_t len, uint64_t *ret_run);

void base_info(struct base *base, struct base_info *ret_info);

#endif
