/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files without a name whose space is still taken: of logs that were thrown away.
 *
 * Deleting a file costs the file system a tenth of a second per GiB. So what is
 * large loses its name at once, which is quick while somebody has it open, and
 * is let go later: by the daemon's maintenance, by whoever lacks the room
 * (space.h), at the latest when the daemon ends.
 *
 * What may be lost: nothing, at no crash point. Nobody needs what lies here, and
 * the file system itself gives back the space of a file that has no name once
 * its last descriptor is gone, after a kill at once, after a power cut when it
 * is mounted.
 *
 * Threads: every call from any thread.
 */
#ifndef FS_STORE_REMAINS_H
#define FS_STORE_REMAINS_H

#include <stdbool.h>

#include "fs/util/io.h"

/* Smaller ones are let go on the spot. */
#define REMAINS_LEAST_BYTES (UINT64_C(1) << 20)
#define REMAINS_MAX 512 /* descriptors; what comes then is let go on the spot */

struct remains;

/* NULL: no memory. */
struct remains *remains_new(void);
void remains_free(struct remains *remains); /* lets all go; NULL allowed */

/* unlinkat() of a file. remains NULL: it is let go on the spot. */
int remains_unlink(struct remains *remains, const struct io_gate *io, int dirfd, const char *name);

/* Let all go that was unlinked before the call. True: there was something. */
bool remains_let_go(struct remains *remains);

#endif
