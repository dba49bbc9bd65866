/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The on-disk format of one delta: text first, then the structs.
 *
 * A delta called ID (32 hexadecimal digits) is two files:
 *
 *	ID.super   two copies of the super block, 4 KiB each
 *	ID.log     segments; the only place where guest data is
 *
 * All integers are little-endian. Reserved bytes are zero. A block is 4 KiB
 * of the disk; a block number is a disk offset divided by 4096.
 *
 * SUPER BLOCK
 *
 * Copies lie at 0 and 4096. A copy is valid if its magic, its version and
 * its checksum (XXH3-64 of the first 4088 bytes, seed 0) are right. The valid
 * copy with the higher generation counts; a new one is written over the other
 * and synced, so that a torn write leaves the old one. Its fields are said
 * at struct format_super. Unknown bits in `incompat` forbid to open, in
 * `ro_compat` to write, in `compat` nothing.
 *
 * THE LOG
 *
 * The log file is cut into slots: slot 0 has 256 KiB, each next one twice as
 * much up to 8 MiB, from slot 5 on all have 8 MiB; a slot begins where the
 * one before it ends. A slot in use holds one segment: a header page of 4096
 * bytes, then records without gaps. Segments have sequence numbers that only
 * grow; which slot a segment lies in says nothing about its age.
 *
 * A segment header is valid if its magic, log id, slot number and checksum
 * (XXH3-64 of the first 4088 bytes, seed key[0]) are right. It is written
 * once and never rewritten. It names the segment before it (prev_seq), where
 * accepted records end there (prev_end) and the chain value at that point
 * (prev_sum). prev_seq 0: the log begins here.
 *
 * RECORDS
 *
 *	struct format_record      48 bytes
 *	le16 len[n]               padded with zeros to 8 bytes (types with a table)
 *	per block with len > 0:   le64 block sum, then len bytes of payload
 *	zeros up to a multiple of 8
 *
 * FORMAT_DATA: `count` == `n` consecutive blocks from `block`. len 0: the
 * block is zeros; 4096: payload is the block itself; else payload is one lz4
 * block that decompresses to exactly 4096 bytes.
 * FORMAT_ZERO: blocks [block, block + count) read as zeros; n == 0, no payload.
 * FORMAT_MOVED (with FORMAT_INCOMPAT_MOVED only): payloads that cleaning took
 * along; table of n struct format_moved {block, lsn, len} instead of len[]:
 * each block version keeps the LSN of its guest write.
 *
 * A record begins at a multiple of 8 and never leaves its segment. It is
 * valid if and only if
 *
 *	- magic, type, n, count, length agree with each other, it ends within
 *	  its segment, its blocks lie within the disk, its LSN is higher than
 *	  that of the record before it;
 *	- record sum == XXH3-64(seed key[0]; key[1], epoch, segment sequence,
 *	  position in the log file, record sum of the record before it (at a
 *	  segment's begin: the header's prev_sum), the 48 bytes with sum = 0,
 *	  the table with its padding, all block sums);
 *	- each block sum == XXH3-64(seed key[0]; key[1], epoch, segment sequence,
 *	  position of the block sum in the log file, block number,
 *	  XXH3-64(payload)).
 *
 * So a record of another place, of an earlier life of the segment, after a
 * lost one, or made of bytes that a guest chose, does not verify; and a body
 * cannot be older than its header, as the header's sum covers the body's.
 *
 * LSNs count records and only grow; those of a failed append are not used
 * again. For each block the version with the highest LSN counts. LSNs, sequence
 * numbers and generations are below 2^62, which no counting reaches: a higher
 * one makes its record, header or super block invalid, so that none can wrap.
 *
 * Appends. One pwritev appends records at the log's end and zeros up to the
 * end of its last page. Assumed of the device: rewriting a sector with the
 * same bytes cannot lose them (the next append rewrites that page). Once the
 * header of a next segment may be in the file, also after a write that is said
 * to have failed, nothing is appended to the segment before it.
 *
 * LIVES
 *
 * A life is what one opener writes, from its first write to its close. It
 * draws a random epoch and never appends to a segment of an earlier life: it
 * starts a new one, whose header names the accepted end. Order:
 *
 *	1 segment header written, fdatasync of the log
 *	2 super block written (not clean, epoch, life_seq = that segment), synced
 *	3 the first record is appended
 *
 * An opener that finds the log unclean does this at once, before it serves
 * the first request, because from then on the accepted end must not move; an
 * opener after a clean stop does it at its first write. Later segments of a
 * life are started without a sync: the flush that covers them is enough.
 *
 * A clean stop flushes and then writes the super block with the clean flag,
 * the log's end (end_seq, end_off, end_sum) and its LSN.
 *
 * READING THE LOG
 *
 *	1 Unclean: fdatasync of the log, then all reads below come from the
 *	  medium (O_DIRECT, or after dropping the cached pages): after a failed
 *	  write-back the page cache shows bytes that are lost.
 *	2 Read the header of every slot. The valid one with the highest sequence
 *	  begins the path; prev_seq leads on to prev_seq 0. A segment named but
 *	  missing is damage, unless a power cut may have taken its header: the
 *	  super block is not clean, the newest segment is of its epoch, and the
 *	  missing one has a higher sequence than life_seq. Then all newer ones
 *	  are a lost tail, and the newest older one begins the path. Valid
 *	  segments off the path are tails of lives that lost them: ignored.
 *	3 Replay the path from its oldest segment. Each segment's records end
 *	  exactly at the next one's prev_end with its prev_sum. In the last, they
 *	  end at the clean mark, or else at the first invalid record. (Behind
 *	  a prev_end or a mark a failed append may have left a valid record.)
 *	4 A segment that ends before the next one's prev_end: the log ends
 *	  there and the rest of the path is a lost tail, if all of the rest
 *	  belongs to the same life; otherwise damage, since a later life had
 *	  accepted those records.
 *	5 The LSN reached must not be below any durable_lsn in a valid header or
 *	  the super block, the segment life_seq must be on the path, and a log
 *	  marked clean must end where the mark says (the mark counts only if no
 *	  segment is newer than end_seq). Otherwise damage: refused (-EUCLEAN).
 *
 * Not detected: damage to headers and records of the last life behind the last
 * durable_lsn looks like a torn tail. (A life's first segment is witnessed by
 * life_seq; what later lives accepted, by their prev_seq and prev_end.)
 *
 * CHECKPOINT
 *
 * ID.ckpt, published by rename, is a cache of the replay: the index and the
 * chain value at one LSN, naming segment, position and LSN, XXH3 over all. A
 * reader that does not know or trust it replays the whole log. It must not
 * name an LSN that is not durable. From the moment segments are reused
 * (FORMAT_INCOMPAT_REUSE) the path begins where the oldest segment in use
 * says so with prev_seq 0, and every block version that lay before it has
 * been moved (FORMAT_MOVED) behind it.
 *
 * WHAT MAY BE LOST, crash point by crash point
 *
 *	during an append                 that record and what was queued behind
 *	                                 it: none acknowledged
 *	after an append, before flush    process killed: nothing. Power cut: the
 *	                                 records after the last flush, from some
 *	                                 record on all of them
 *	after flush returned             nothing
 *	while a segment is started       nothing: its header has no records yet
 *	while a super block is written   nothing: the other copy says the same,
 *	                                 less the newest life or clean mark
 */
#ifndef FS_STORE_FORMAT_H
#define FS_STORE_FORMAT_H

#include <assert.h>
#include <stdint.h>

#include "fs/util/id.h"
#include "fs/util/le.h"

#define FORMAT_VERSION 1
#define FORMAT_PAGE 4096u
#define FORMAT_KEY_WORDS 2

#define FORMAT_SUPER_MAGIC UINT64_C(0x52455055535a4c43)   /* "CLZSUPER" */
#define FORMAT_SEGMENT_MAGIC UINT64_C(0x544d4745535a4c43) /* "CLZSEGMT" */
#define FORMAT_RECORD_MAGIC 0x525a4c43u                   /* "CLZR" */

/* Feature words. Bits named here but not in _KNOWN are reserved for the
 * readers that will know them. */
#define FORMAT_INCOMPAT_MOVED UINT64_C(1) /* the log holds FORMAT_MOVED records */
#define FORMAT_INCOMPAT_REUSE UINT64_C(2) /* slots have been reused */
#define FORMAT_INCOMPAT_LAYER UINT64_C(4) /* frozen: a read-only layer */
#define FORMAT_INCOMPAT_KNOWN UINT64_C(0)
#define FORMAT_RO_COMPAT_KNOWN UINT64_C(0)

#define FORMAT_SUPER_CLEAN 1u /* flags */

struct format_super {      /* 4096 bytes */
	le64 magic;        /* 0 */
	le32 version;      /* 8 */
	le32 block_shift;  /* 12: always 12 */
	le64 incompat;     /* 16 */
	le64 ro_compat;    /* 24 */
	le64 compat;       /* 32 */
	uint8_t id[16];    /* 40: of the delta: its file name */
	le64 key[2];       /* 56: random, drawn once */
	le64 generation;   /* 72: of this copy */
	le64 size_bytes;   /* 80: of the disk */
	le64 epoch;        /* 88: of the last life, 0 before the first */
	le64 life_seq;     /* 96: its first segment, 0 before the first life */
	uint8_t host[16];  /* 104: machine id of its writer */
	uint8_t boot[16];  /* 120: boot id */
	le64 flags;        /* 136 */
	le64 end_seq;      /* 144: clean: segment in which the log ends, 0 for an empty log */
	le64 end_off;      /* 152: clean: offset in that segment */
	le64 end_sum;      /* 160: clean: chain value there */
	le64 durable_lsn;  /* 168: highest LSN known durable */
	le64 written_sec;  /* 176: time of the last write, at a clean stop */
	uint8_t reserved[3904]; /* 184 */
	le64 sum;          /* 4088 */
};

struct format_segment {    /* 4096 bytes */
	le64 magic;        /* 0 */
	uint8_t id[16];    /* 8: of the delta */
	le64 seq;          /* 24: from 1 */
	le64 epoch;        /* 32 */
	le64 first_lsn;    /* 40: no record in here has a lower one */
	le64 prev_seq;     /* 48 */
	le64 prev_end;     /* 56: offset within the previous segment */
	le64 prev_sum;     /* 64 */
	le64 durable_lsn;  /* 72: highest LSN known durable when this was written */
	le32 slot;         /* 80 */
	le32 flags;        /* 84: zero */
	uint8_t reserved[4000]; /* 88 */
	le64 sum;          /* 4088 */
};

enum format_type {
	FORMAT_DATA = 1,
	FORMAT_ZERO = 2,
	FORMAT_MOVED = 3,
};

struct format_record { /* 48 bytes */
	le32 magic;    /* 0 */
	le16 type;     /* 4 */
	le16 n;        /* 6: entries of the table, at most 256 */
	le32 length;   /* 8: of the whole record, a multiple of 8 */
	le32 flags;    /* 12: zero */
	le64 lsn;      /* 16 */
	le64 block;    /* 24 */
	le64 count;    /* 32 */
	le64 sum;      /* 40 */
};

struct format_moved { /* 24 bytes */
	le64 block;
	le64 lsn;
	le16 len;
	uint8_t reserved[6];
};

static_assert(sizeof(struct format_super) == 4096, "super block size");
static_assert(sizeof(struct format_segment) == 4096, "segment header size");
static_assert(sizeof(struct format_record) == 48, "record header size");
static_assert(sizeof(struct format_moved) == 24, "moved entry size");

#define FORMAT_COUNTER_MAX (UINT64_C(1) << 62) /* LSNs, sequences, generations */
#define FORMAT_BLOCK_SUM 8u      /* bytes before each payload */
#define FORMAT_RECORD_BLOCKS 256 /* blocks in one record */
#define FORMAT_LOG_MAX (UINT64_C(1) << 44) /* bytes of a log: what ext4 allows a file */

#endif
