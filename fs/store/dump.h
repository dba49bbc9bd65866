/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A delta's files as text: one line per super block copy, header and record, and the checkpoint.
 *
 *	super 0 ok generation 2 size 16777216 life 1 slot 0 clean 1+8256 durable 3
 *	super 1 damaged: wrong checksum
 *	slot 0 segment 1 header first 1 prev 0+0 durable 0 life 1 ok
 *	slot 0 segment 1 at 4096 data lsn 1 block 10 count 2 length 4168 payload 4096,0 ok
 *	slot 0 segment 1 at 8264 zero lsn 2 block 0 count 100 length 48 ok
 *	slot 0 segment 1 at 8312 moved lsn 9 length 248 payload 7@3:120,20+5@4:0 bad 0
 *	slot 0 segment 1 at 8560 end lsn 10 length 48 ok
 *	slot 0 segment 1 ends at 8608 sealed
 *	slot 1 free 3 durable 9 ok
 *	slot 2 never used
 *	slot 3 damaged
 *	checkpoint ok lsn 9 segment 4+8192 slots 4 data blocks 12
 *
 * Nothing that is drawn at random is in it (lives are counted from the oldest
 * that is left), so the same operations give the same text: tests compare it.
 * A moved entry is BLOCK[+COUNT]@LSN:BYTES; "bad" lists the entries whose
 * payload does not verify.
 */
#ifndef FS_STORE_DUMP_H
#define FS_STORE_DUMP_H

#include <stdio.h>

#include "fs/util/err.h"
#include "fs/util/io.h"

/* Print the delta called name. Damage is printed and no failure. What out could
 * not take is the caller's to find out (ferror). */
int dump_delta(const struct io_gate *io, int dirfd, const char *name, FILE *out,
	struct err *err);

#endif
