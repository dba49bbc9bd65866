/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A held base: its images, the top first. Private to fs/base; others see base.h. */
#ifndef FS_BASE_CHAIN_H
#define FS_BASE_CHAIN_H

#include <stdint.h>

#include "fs/base/base.h"
#include "fs/base/file.h"
#include "fs/base/image.h"

struct base {
	/* Constant while held. */
	struct file *only; /* one raw image: its file; else NULL */
	uint64_t size_bytes;
	uint32_t n_images;
	uint32_t n_files;
	struct image **images;
	struct file **files; /* of all images, in their order */
	struct base_source *source;
	const char **paths; /* of the files, as source has them: they may have other names too */
	char *identity_text;

	/* Under the table's lock (base.c). */
	uint32_t holds;
	struct base *next;
};

#endif
