/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks and text shared by the manifest's files; its door is store.h. */
#ifndef FS_STORE_MANIFEST_H
#define FS_STORE_MANIFEST_H

#include "fs/store/store.h"

/* Every name, size and count, and that no two disks share a target, a number
 * or a log. Returns code with a message that says which: -EINVAL for what a
 * caller made, -EUCLEAN for what a file said. */
int manifest_check(const struct manifest *m, int code, struct err *err);

#endif
