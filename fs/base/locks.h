/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's image locks, seen from a reader that must not be written under. Private to fs/base.
 *
 * QEMU announces on each image file what it does with it, by shared OFD locks
 * on single bytes, and looks for the bytes of others before it opens:
 *
 *	100 + p   I use permission p        p: 0 consistent read, 1 write,
 *	200 + p   nobody else may use p        2 write unchanged, 3 resize
 *
 * A reader of ours says: I use consistent read; nobody may write or resize.
 * The locks live as long as the descriptor and hold against root as well.
 */
#ifndef FS_BASE_LOCKS_H
#define FS_BASE_LOCKS_H

#include "fs/util/err.h"

/* Take them on fd. -EBUSY: somebody writes or resizes, or shares no read;
 * -EOPNOTSUPP: the file system has no such locks. */
int locks_take(int fd, const char *path, struct err *err);

/* Only look: 0, or -EBUSY as above. */
int locks_test(int fd, const char *path, struct err *err);

#endif
