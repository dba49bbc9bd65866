/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The on-disk format of one delta: text first, then the structs.
 *
 * A delta called ID (32 hexadecimal digits) is up to three files:
 *
 *	ID.super   two copies of the super block, 4 KiB each
 *	ID.log     segments; the only place where guest data is
 *	ID.ckpt    a checkpoint: a cache of the log, may be missing
 *
 * All integers are little-endian. Reserved bytes are zero. A block is 4 KiB
 * of the disk; a block number is a disk offset divided by 4096. A sector of
 * 512 bytes is written whole or not at all; nothing larger is.
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
 * one before it ends. A slot begins with a header page of 4096 bytes, of which
 * the first sector counts; then records follow without gaps. What a header
 * says of its slot:
 *
 *	never used    the sector is all zeros
 *	segment       records of the segment called seq
 *	free          nothing: the slot may be reused. seq is the segment it
 *	              held, 0 if none
 *
 * A header is valid if its magic, log id, slot number and checksum (XXH3-64 of
 * the first 504 bytes, seed key[0]) are right. Being one sector, it is never
 * torn. Sequence numbers of segments only grow, each is used once; which slot
 * a segment lies in says nothing about its age. A segment's header is written
 * once; the next thing written there is a free header. It names the segment
 * before it in the log's order (prev_seq, in prev_slot), where accepted
 * records end there (prev_end) and the chain value at that point (prev_sum).
 * prev_seq 0: the log begins here. durable_slots witnesses that all slots
 * below it have valid headers on the medium: an invalid one there is damage.
 *
 * RECORDS
 *
 *	struct format_record      48 bytes
 *	table of n entries        padded with zeros to 8 bytes (types with a table)
 *	per block with len > 0:   le64 block sum, then len bytes of payload
 *	zeros up to a multiple of 8
 *
 * FORMAT_DATA: table le16 len[n]; `count` == `n` consecutive blocks from
 * `block`. len 0: the block is zeros; 4096: payload is the block itself; else
 * payload is one lz4 block that decompresses to exactly 4096 bytes.
 * FORMAT_ZERO: blocks [block, block + count) read as zeros; n == 0, no payload.
 * FORMAT_MOVED: block versions that cleaning took along, payloads as they
 * were; table of n struct format_moved {block, lsn, count, len}, block and
 * count of the record are 0. len 0: a run of count blocks of zeros; else
 * count is 1. lsn is that of the version's guest write; of zeros, one at which
 * they were zeros, not before that write (they are put together).
 * FORMAT_BAD: the content of [block, block + count) is lost (written by repair
 * only): reading them is an error until they are written again; n == 0.
 * FORMAT_END: nothing; the segment ends here, sealed. n == 0. Room for it is
 * always left.
 *
 * A record begins at a multiple of 8 and never leaves its segment. It is
 * valid if and only if
 *
 *	- magic, type, n, count, length agree with each other, it ends within
 *	  its segment, its blocks lie within the disk, its LSN is higher than
 *	  that of the record before it, and each lsn in its table is lower
 *	  than its own;
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
 * again. For each block the version with the highest LSN counts, and that is
 * the last one in the log's order: a MOVED entry is appended by the one thread
 * that appends, which looks before it does whether the index still points at
 * the place it was moved from. So replay needs no LSN per block; fsck checks
 * that the two orders agree. LSNs, sequence numbers and generations are below
 * 2^62, which no counting reaches: a higher one makes its record, header or
 * super block invalid, so that none can wrap. A log whose counters come to
 * their end (it was made to) takes no more: -EIO, nothing is acknowledged.
 *
 * Appends. One pwritev appends records at the log's end and zeros up to the
 * end of its last page. Assumed of the device: rewriting a sector with the
 * same bytes cannot lose them (the next append rewrites that page). A segment
 * that its successor follows, or that a clean stop leaves, is sealed by an
 * END record; so only a segment in which a life ended uncleanly is not.
 * Once the header of a next segment may be in the file, also after a write
 * that is said to have failed, nothing is appended to the segment before it.
 * After such a write a free header is written there, and synced, before another
 * segment begins (with the next number) or a clean stop is marked.
 *
 * LIVES
 *
 * A life is what one opener writes, from its first write to its close. It
 * draws a random epoch and never appends to a segment of an earlier life: it
 * starts a new one, whose header names the accepted end. Order:
 *
 *	1 segment header written, fdatasync of the log
 *	2 super block written (not clean, epoch, life_seq and life_slot = that
 *	  segment), synced
 *	3 free headers written over the segments of earlier lives' lost tails,
 *	  and synced, if there are any: a flush that follows may find nothing to
 *	  sync, and no later free header must be durable before these are
 *	4 the first record is appended
 *
 * An opener that finds the log unclean does this at once, before it serves
 * the first request, because from then on the accepted end must not move; an
 * opener after a clean stop does it at its first write. Later segments of a
 * life are started without a sync: the flush that covers them is enough.
 *
 * A clean stop appends END, flushes and then writes the super block with the
 * clean flag, the log's end (end_seq, end_off, end_sum) and its LSN.
 *
 * REUSE
 *
 * A segment whose block versions are all overwritten or moved is dead. Order:
 *
 *	1 what overwrote them, and the moved copies, and all headers written so
 *	  far are durable (a flush that syncs also when no record is unsynced)
 *	2 a free header is written over its header, with the durable LSN of 1
 *	3 that header is durable (the next flush), and every reader that may
 *	  have looked up a place in the segment has finished
 *	4 the slot is free: for a new segment, the lowest free slot first; or
 *	  its space behind the header page is given back by punching a hole
 *
 * A segment S that witnesses the end of an unsealed segment P (S.prev_seq ==
 * P) does not become free before P's free header is durable.
 * The only thing ever written into a slot before 3 is its free header.
 *
 * READING THE LOG
 *
 *	1 Unclean: fdatasync of the log, then all reads below come from the
 *	  medium (O_DIRECT, or after dropping the cached pages): after a failed
 *	  write-back the page cache shows bytes that are lost.
 *	2 Read the header of every slot. The segment with the highest sequence
 *	  begins the path; prev_seq leads on, down to prev_seq 0. Segments that it
 *	  skips are lost tails of earlier lives. When the segment that prev_seq
 *	  names is not there:
 *	  - it was freed, if the header in prev_slot is free with that or a
 *	    higher seq, or is a segment's with a higher seq: the path goes on
 *	    with the highest segment below it (lost tails do not lie there:
 *	    life step 3 comes before any later free header is durable);
 *	  - else a power cut may have taken its header, if the super block is
 *	    not clean, the newest segment is of its epoch, and the missing one
 *	    has a higher sequence than life_seq: then all newer ones are a lost
 *	    tail, and the newest older one begins the path;
 *	  - else it is damage.
 *	3 Replay the path from its oldest segment, or from the place where the
 *	  checkpoint was taken. A segment's records end exactly at the
 *	  next one's prev_end with its prev_sum; at END, if the next one in order
 *	  was freed; in the last, at the clean mark, at END, or else at the
 *	  first invalid record. (Behind a prev_end or a mark a failed append may
 *	  have left a valid record.)
 *	4 A segment that ends before the next one's prev_end: the log ends
 *	  there and the rest of the path is a lost tail, if all of the rest
 *	  belongs to the same life; otherwise damage, since a later life had
 *	  accepted those records. One that has to reach END and does not is
 *	  damage: its successor was freed, so it was durable.
 *	5 The LSN reached must not be below any durable_lsn in a valid header
 *	  (also a free one) or the super block, nor below that of a checkpoint
 *	  whose sum, id and sizes are right; the segment life_seq must be on
 *	  the path or freed by its slot's header (2); slots below any
 *	  durable_slots must have valid headers; and a log marked clean must
 *	  end where the mark says (the mark counts only if no segment is newer
 *	  than end_seq). Otherwise damage: refused (-EUCLEAN).
 *
 * Not detected: damage to headers and records of the last life behind the last
 * witness of 5 looks like a torn tail. (A life's first segment is witnessed by
 * life_seq; what later lives accepted, by their prev_seq and prev_end.)
 *
 * CHECKPOINT
 *
 * ID.ckpt, published by rename (io_publish), is a cache of the replay: the
 * index at one LSN, and the place in the log behind that record. It is written
 * after a flush that made that LSN durable, so no power cut leaves one that is
 * ahead of the log. It is
 *
 *	struct format_checkpoint  4096 bytes
 *	struct format_slot[slots] what each slot holds; padded to 4096 bytes
 *	struct index_entry[units] the index as in memory (index-entry.h), little-endian
 *	le64 sum                  XXH3-64 of all before it, seed key[0]
 *
 * A checkpoint counts if its sum, id and sizes are right, and if, once the log
 * behind it was replayed, no entry is left that points into a slot whose
 * segment is another than its table says (all that it has in segments freed since
 * must have been overwritten or moved behind it), and if its place is the end of that very
 * record: its segment is read from the begin and verified up to there, unless
 * it was freed since. Else it is passed over and the whole log is replayed; it
 * is never trusted over the log for what a block holds, but a log that ends
 * before its LSN has lost what had been flushed (reading the log, 5). It needs
 * no order with reuse: where a segment that it names was freed, the moved
 * copies lie behind it in the log. When the log is marked clean at the very
 * place of the checkpoint nothing has to be replayed, nor any header read, if
 * both copies of the super block are valid: the mark might be an older copy's,
 * and the newer one, of a life that came later, lost.
 * (The lowest free slot is taken first, so that a life begun and never
 * declared in the super block is overwritten by the next one.)
 *
 * LAYERS
 *
 * FORMAT_INCOMPAT_LAYER: frozen at a clean stop for ever; opened read-only, by
 * the disks stacked on it (store.h). Its blocks beyond size_bytes are absent.
 * Its mark always counts: a newer segment is of a life that was not declared
 * before it was frozen, and no part of it. A mark that was said to have failed
 * is written over before anything else is, as nothing counts behind it.
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
 *	while blocks are moved           nothing: the old copies are in place
 *	                                 until the new ones are durable
 *	while a free header is written   nothing: old or new, no block lives there
 *	while a slot is reused           that new segment, as any new one
 *	while a checkpoint is written    nothing: the one before it, or none
 */
#ifndef FS_STORE_FORMAT_H
#define FS_STORE_FORMAT_H

#include <assert.h>
#include <stdint.h>

#include "fs/util/id.h"
#include "fs/util/le.h"

#define FORMAT_VERSION 2 /* 1: without reuse; never released */
#define FORMAT_PAGE 4096u
#define FORMAT_KEY_WORDS 2

#define FORMAT_SUPER_MAGIC UINT64_C(0x52455055535a4c43)   /* "CLZSUPER" */
#define FORMAT_SEGMENT_MAGIC UINT64_C(0x544d4745535a4c43) /* "CLZSEGMT" */
#define FORMAT_RECORD_MAGIC 0x525a4c43u                   /* "CLZR" */

#define FORMAT_CHECKPOINT_MAGIC UINT64_C(0x54504b43535a4c43) /* "CLZSCKPT" */

/* Feature words. */
#define FORMAT_INCOMPAT_LAYER UINT64_C(1) /* frozen: read-only for ever */
#define FORMAT_INCOMPAT_KNOWN FORMAT_INCOMPAT_LAYER
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
	le32 life_slot;    /* 184: where life_seq lies */
	uint8_t reserved[3900]; /* 188 */
	le64 sum;          /* 4088 */
};

#define FORMAT_SEGMENT_FREE 1u /* flags */

struct format_segment {    /* 512 bytes, the first of a slot */
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
	le32 flags;        /* 84 */
	le32 prev_slot;    /* 88: where prev_seq lies */
	le32 durable_slots; /* 92: slots below have valid headers on the medium */
	uint8_t reserved[408]; /* 96 */
	le64 sum;          /* 504 */
};

struct format_checkpoint { /* 4096 bytes */
	le64 magic;        /* 0 */
	le32 version;      /* 8 */
	le32 slots;        /* 12: entries of the table of slots */
	uint8_t id[16];    /* 16: of the delta */
	le64 lsn;          /* 32: of the last record that it covers */
	le64 seq;          /* 40: segment in which the log goes on, 0 for an empty log */
	le64 off;          /* 48: offset in that segment behind that record */
	le64 chain;        /* 56: its record sum */
	le64 units;        /* 64: entries of the index */
	le64 size_bytes;   /* 72: of the disk, when it was taken */
	le64 written_sec;  /* 80: time of the last write before it */
	uint8_t reserved[4008]; /* 88 */
};

#define FORMAT_SLOT_FREE 1u   /* flags; 0: never used */
#define FORMAT_SLOT_USED 2u
#define FORMAT_SLOT_SEALED 4u /* ends with END */
#define FORMAT_SLOT_OTHER 8u  /* holds other blocks than data: zeros (of any record), BAD */

struct format_slot { /* 32 bytes, in a checkpoint */
	le64 seq;
	le64 epoch;
	le64 first_lsn;
	le32 flags;
	le32 reserved;
};

enum format_type {
	FORMAT_DATA = 1,
	FORMAT_ZERO = 2,
	FORMAT_MOVED = 3,
	FORMAT_BAD = 4,
	FORMAT_END = 5,
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

struct format_moved { /* 32 bytes */
	le64 block;
	le64 lsn;
	le64 count;
	le16 len;
	uint8_t reserved[6];
};

static_assert(sizeof(struct format_super) == 4096, "super block size");
static_assert(sizeof(struct format_segment) == 512, "segment header size");
static_assert(sizeof(struct format_checkpoint) == 4096, "checkpoint header size");
static_assert(sizeof(struct format_slot) == 32, "checkpoint slot size");
static_assert(sizeof(struct format_record) == 48, "record header size");
static_assert(sizeof(struct format_moved) == 32, "moved entry size");

#define FORMAT_COUNTER_MAX (UINT64_C(1) << 62) /* LSNs, sequences, generations */
#define FORMAT_BLOCK_SUM 8u      /* bytes before each payload */
#define FORMAT_RECORD_BLOCKS 256 /* blocks in one record */
#define FORMAT_LOG_MAX (UINT64_C(1) << 44) /* bytes of a log: what ext4 allows a file */

#endif
