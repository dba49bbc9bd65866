/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A clone's NVRAM file: copies of it kept in the store, and put where libvirt has it.
 *
 *	nvram_keep      an NVRAM file -> a copy in the clone's directory
 *	nvram_install   STAGE's nvram.pristine -> libvirt's directory, under a journal
 *	nvram_prepare   a kept copy -> a temporary file beside the NVRAM file, under a journal
 *	nvram_replace   that file becomes the NVRAM file
 *	nvram_remove    as if the machine had never run
 *
 * An original that never ran has no file yet: libvirt makes it from the
 * firmware's template at the first start, and so it will for the clone.
 */
#ifndef CLONE_PLAN_NVRAM_H
#define CLONE_PLAN_NVRAM_H

#include <stdbool.h>

#include "clone/state/journal.h"
#include "clone/virt/virt.h"
#include "fs/util/err.h"

/* The largest that QEMU takes: two 32 MiB flash chips of ARM boards. */
#define NVRAM_BYTES_MAX (64u << 20)

/* Where the NVRAM of a domain called name belongs. Caller frees. */
int nvram_path(const struct virt *virt, const char *name, char **ret_path, struct err *err);

/* Make dirfd/file, its content synced; original as for openat. 1 kept, 0 the
 * original has no file yet. */
int nvram_keep(int from_dirfd, const char *original, int dirfd, const char *file,
	struct err *err);

/* clone_dirfd: where nvram_keep put it by now. Owner and mode as original's,
 * if that is there. */
int nvram_install(int clone_dirfd, const char *original, const char *path,
	struct journal *journal, struct err *err);

/* *ret_temp (the caller's to free) is whole, durable, and has the owner and
 * mode of path. */
int nvram_prepare(int clone_dirfd, const char *file, const char *path, struct journal *journal,
	char **ret_temp, struct err *err);

/* Both are durable when they return, and done already if temp or path is gone. */
int nvram_replace(const char *temp, const char *path, struct err *err);
int nvram_remove(const char *path, struct err *err);

/* The file-system id that the journal knows a file by; 0 where there is none. */
uint64_t nvram_fsid(int fd);

#endif
