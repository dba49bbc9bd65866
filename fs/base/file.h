/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A held file: what a base is made of. Private to fs/base.
 *
 * A file that is held is open, locked, leased where that is possible, watched,
 * and was compared with its identity under that protection. Holds of the same
 * file are one object, counted: one descriptor, one watcher, one gate for all
 * the images and bases that it is part of.
 *
 *	file_hold(path, identity)   open, protect, compare
 *	file_read / file_hole       through its gate
 *	file_bytes                  the same for an image format
 *	file_release
 *
 * All functions may be called from any thread. Errors: see base.h.
 */
#ifndef FS_BASE_FILE_H
#define FS_BASE_FILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/base/bytes.h"
#include "fs/base/gate.h"
#include "fs/base/identity.h"
#include "fs/base/raw.h"
#include "fs/base/waiting.h"
#include "fs/base/watch.h"

/* Locks: the table's (file.c), then the gate's; hole_lock alone. */
struct file {
	/* Constant while held. */
	char *path; /* by which it was opened first; it may have other names */
	struct identity identity;
	struct raw raw;

	struct waiting *waiting; /* of its device */

	struct gate gate;
	struct watch watch;

	/* The last stretch that file_hole() looked up; under hole_lock. */
	pthread_mutex_t hole_lock;
	uint64_t stretch_start;
	uint64_t stretch_end;
	bool stretch_hole;

	/* Under the table's lock. */
	uint32_t holds;
	struct file *next;
};

/* recorded NULL: as it is now. */
int file_hold(const char *path, const struct identity *recorded, struct file **ret_file,
	struct err *err);
void file_release(struct file *file); /* NULL allowed */

/* As base_read(). */
int file_read(struct file *file, void *buf, size_t len, uint64_t off, bool nowait);

/* As base_hole(), of this file alone. */
bool file_hole(struct file *file, uint64_t off, uint64_t len, uint64_t *ret_run);

/* For a reader of a format; good as long as the file is held. */
struct bytes file_bytes(struct file *file);

/* Leased, and path does not lead to it now. */
bool file_moved(const struct file *file, const char *path);

#endif
