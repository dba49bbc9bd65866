/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A clone's NVRAM file: a copy of the original's, beside where libvirt keeps the others.
 *
 *	nvram_keep      original -> STAGE/nvram.pristine (what `reset` goes back to)
 *	nvram_install   STAGE's copy -> libvirt's directory, under a journal
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

/* 1 kept, 0 the original has no file yet. */
int nvram_keep(const char *original, int stage_dirfd, struct err *err);

/* clone_dirfd: where nvram_keep put it by now. Owner and mode as original's. */
int nvram_install(int clone_dirfd, const char *original, const char *path,
	struct journal *journal, struct err *err);

/* The file-system id that the journal knows a file by; 0 where there is none. */
uint64_t nvram_fsid(int fd);

#endif
