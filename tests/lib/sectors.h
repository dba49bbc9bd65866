/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks whose every sector says who wrote it, and a file that knows what must be there.
 *
 * Writers stamp sectors with disk, address and a sequence number; each sector
 * has one writer, so its numbers only grow. A file, shared by mmap, keeps for
 * each sector the last number that was begun and the last that was
 * acknowledged: it survives a SIGKILL of the writers as memory does. Then each
 * sector must hold one of the two, whole.
 *
 * Half of each disk is written sector by sector, neighbours by different
 * writers, so that blocks are merged; the other half in runs within pieces of
 * 32 KiB. Some operations are discards. A sector never written is the base's:
 * stamped with number 0, or zeros behind its end.
 */
#ifndef TESTS_LIB_SECTORS_H
#define TESTS_LIB_SECTORS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR_BYTES 512u
#define SECTORS_RUN_MAX 64u /* in one request */

struct sector {
	_Atomic uint32_t begun;  /* number << 1 | 1 for a discard */
	_Atomic uint32_t acked;
	_Atomic uint32_t zeroed; /* last discard that was begun */
};

struct sectors_head {
	uint32_t disks, per_disk; /* sectors of each */
	uint32_t base_sectors;
	uint32_t writers;
	_Atomic uint32_t next;   /* number */
	_Atomic uint64_t acked;  /* operations */
	_Atomic int error;       /* first failure; what[] says it */
	char what[200];
};

struct sectors {
	struct sectors_head *head;
	struct sector *sector;
	size_t bytes;
};

/* How to reach the disks. 0 or -errno. */
struct sectors_io {
	int (*read)(void *ctx, uint32_t disk, void *buf, size_t len, uint64_t off);
	int (*write)(void *ctx, uint32_t disk, const void *buf, size_t len, uint64_t off);
	int (*zero)(void *ctx, uint32_t disk, uint64_t len, uint64_t off);
	void *ctx;
	bool may_vanish; /* an error ends a writer, and is none */
};

/* A new state file, or one that is there. Ends the program on failure. */
void sectors_create(const char *path, uint32_t disks, uint32_t per_disk, uint32_t base_sectors,
	uint32_t writers);
void sectors_open(const char *path, struct sectors *sectors);
void sectors_close(struct sectors *sectors);

/* A file for the base. */
void sectors_make_base(const char *path, uint32_t n);

/* Writer me's operations until *stop, so many if ops is not 0; reads and checks
 * in between. -errno, and head->error and what are set. */
int sectors_work(struct sectors *sectors, const struct sectors_io *io, uint32_t me, uint64_t seed,
	uint64_t ops, const atomic_bool *stop);

/* Is all there that was acknowledged, and nothing else? From then on what was
 * found is what must be there. */
int sectors_check(struct sectors *sectors, const struct sectors_io *io);

int sectors_complain(struct sectors *sectors, int rc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
