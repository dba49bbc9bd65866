/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Content sample of an image: a hash over 64 KiB of it. Private to fs/base. */
#ifndef FS_BASE_SAMPLE_H
#define FS_BASE_SAMPLE_H

#include <stdint.h>

#include "fs/base/raw.h"

/* Depends on content and size only, never on holes or the file system. The
 * same for ever: it is recorded in manifests. */
int sample_take(const struct raw *raw, uint64_t *ret_sample);

#endif
