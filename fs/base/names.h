/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names of other files that stand in an image. Private to fs/base.
 *
 * Whoever wrote an image may have put any name into it. Nothing is opened
 * because an image names it: the caller of a base says which files it has, and
 * what the image says is only compared with that.
 */
#ifndef FS_BASE_NAMES_H
#define FS_BASE_NAMES_H

#include "fs/base/base.h"
#include "fs/base/qcow2.h"

/* Where a name in the image at image_path leads: relative ones begin at the
 * image's directory. Caller frees *ret_path. -EOPNOTSUPP: not a file's name
 * but a protocol's ("nbd:", "json:"), too long or not plain text. */
int names_resolve(const char *image_path, const char *name, char **ret_path, struct err *err);

/* Does image i of the source ask for what the source says: the image below it,
 * that one's format, its data file? -EPERM when not, -EOPNOTSUPP as above. */
int names_check(const struct base_source *source, uint32_t i, const struct qcow2_info *info,
	struct err *err);

/* The same without a look at the names: does it ask for as many files? For a
 * base whose files are compared with what was recorded, and may lie elsewhere
 * by now. -EUCLEAN. */
int names_check_known(const struct base_source *source, uint32_t i,
	const struct qcow2_info *info, struct err *err);

/* No file may be there twice under two names. -EPERM. */
int names_check_twins(const struct base_source *source, struct err *err);

#endif
