/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Building and checking of what a base consists of. Private to fs/base; others see base.h. */
#ifndef FS_BASE_SOURCE_H
#define FS_BASE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/base.h"

/* With n_images images to be set. -ENOMEM. */
int source_new(uint32_t n_images, struct base_source **ret_source);

int source_copy(const struct base_source *source, struct base_source **ret_copy);

/* Texts are copied; data_path may be NULL, snapshot too. -ENOMEM. */
int source_set_image(struct base_source *source, uint32_t i, const char *path, const char *format,
	const char *data_path);
int source_set_snapshot(struct base_source *source, const char *snapshot);

/* Whatever the source came from: is it one? -EUCLEAN; what: begins the message. */
int source_check(const struct base_source *source, const char *what, struct err *err);

bool source_is_raw(const struct base_source *source); /* one raw image, nothing else */
bool source_is_utf8(const struct base_source *source); /* so that JSON can hold it */

#endif
