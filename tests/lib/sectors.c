/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stamped sectors and the file of what is expected: see sectors.h. */
#include "tests/lib/sectors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/round.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"

#define STAMP_MAGIC UINT64_C(0x5350545353454c5a)
#define CHECK_SECTORS 2048u /* read at once */
#define BASE_DISK UINT32_MAX

struct stamp {
	uint64_t magic;
	uint32_t disk, number;
	uint64_t sector;
};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

int sectors_complain(struct sectors *sectors, int rc, const char *fmt, ...)
{
	struct sectors_head *head = sectors->head;
	int none = 0;
	va_list ap;

	if (!atomic_compare_exchange_strong(&head->error, &none, rc))
		return rc;
	va_start(ap, fmt);
	vsnprintf(head->what, sizeof(head->what), fmt, ap);
	va_end(ap);
	return rc;
}

/* ---- stamps ---- */

/* From noise to nearly nothing but its head, for the codec. */
static void stamp(uint8_t *buf, uint32_t disk, uint64_t sector, uint32_t number)
{
	static const size_t noises[] = {SECTOR_BYTES, SECTOR_BYTES / 2, 64, 0};
	struct stamp head = {STAMP_MAGIC, disk, number, sector};
	uint64_t rng = (uint64_t)number << 32 ^ (uint64_t)disk << 56 ^ sector;
	size_t noise = noises[number / 8 % 4];

	memset(buf, (int)(number & 0xff), SECTOR_BYTES);
	for (size_t off = 0; off < noise; off += 8) {
		uint64_t word = rng_next(&rng);

		memcpy(buf + off, &word, 8);
	}
	memcpy(buf, &head, sizeof(head));
}

static bool all_zeros(const uint8_t *buf)
{
	return buf[0] == 0 && memcmp(buf, buf + 1, SECTOR_BYTES - 1) == 0;
}

/* What the sector holds: *ret_zero, or the number of its stamp. -EUCLEAN: of
 * another disk or place, or two things. */
static int identify(const uint8_t *buf, uint32_t disk, uint64_t sector, bool *ret_zero,
	uint32_t *ret_number)
{
	uint8_t wanted[SECTOR_BYTES];
	struct stamp head;

	*ret_number = 0;
	*ret_zero = all_zeros(buf);
	if (*ret_zero)
		return 0;
	memcpy(&head, buf, sizeof(head));
	if (head.magic != STAMP_MAGIC || head.sector != sector ||
		head.disk != (head.number ? disk : BASE_DISK))
		return -EUCLEAN;
	stamp(wanted, head.disk, sector, head.number);
	*ret_number = head.number;
	return memcmp(buf, wanted, SECTOR_BYTES) == 0 ? 0 : -EUCLEAN;
}

void sectors_make_base(const char *path, uint32_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint8_t buf[SECTOR_BYTES];

	for (uint32_t i = 0; fd >= 0 && i < n; i++) {
		stamp(buf, BASE_DISK, i, 0);
		if (pwrite(fd, buf, sizeof(buf), (off_t)i * SECTOR_BYTES) != sizeof(buf))
			die(path);
	}
	if (fd < 0)
		die(path);
	close(fd);
}

/* ---- the file ---- */

static size_t state_bytes(uint32_t disks, uint32_t per_disk)
{
	return sizeof(struct sectors_head) + (size_t)disks * per_disk * sizeof(struct sector);
}

void sectors_create(const char *path, uint32_t disks, uint32_t per_disk, uint32_t base_sectors,
	uint32_t writers)
{
	const struct sectors_head head = {
		.disks = disks,
		.per_disk = per_disk,
		.base_sectors = base_sectors,
		.writers = writers,
		.next = 1,
	};
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || pwrite(fd, &head, sizeof(head), 0) != sizeof(head) ||
		ftruncate(fd, (off_t)state_bytes(disks, per_disk)) < 0)
		die(path);
	close(fd);
}

void sectors_open(const char *path, struct sectors *sectors)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	sectors->bytes = (size_t)st.st_size;
	sectors->head = mmap(NULL, sectors->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (sectors->head == MAP_FAILED)
		die(path);
	sectors->sector = (struct sector *)(sectors->head + 1);
	close(fd);
}

void sectors_close(struct sectors *sectors)
{
	munmap(sectors->head, sectors->bytes);
}

static struct sector *sector_of(const struct sectors *sectors, uint32_t disk, uint64_t at)
{
	return &sectors->sector[(size_t)disk * sectors->head->per_disk + at];
}

/* ---- writing ---- */

struct writer {
	struct sectors *sectors;
	const struct sectors_io *io;
	uint32_t me;
	uint64_t rng;
	uint8_t buf[SECTORS_RUN_MAX * SECTOR_BYTES];
};

/* A range of our own sectors: one in the first half, a run in the second. */
static void pick(struct writer *w, uint32_t *ret_disk, uint64_t *ret_at, uint32_t *ret_n)
{
	const struct sectors_head *head = w->sectors->head;
	uint64_t half = head->per_disk / 2;

	*ret_disk = (uint32_t)rng_below(&w->rng, head->disks);
	if (rng_below(&w->rng, 2)) {
		*ret_n = 1;
		*ret_at = rng_below(&w->rng, half / head->writers) * head->writers + w->me;
	} else {
		uint64_t pieces = half / SECTORS_RUN_MAX / head->writers;
		uint64_t piece = rng_below(&w->rng, pieces) * head->writers + w->me;
		uint32_t from = (uint32_t)rng_below(&w->rng, SECTORS_RUN_MAX);

		*ret_n = 1 + (uint32_t)rng_below(&w->rng, SECTORS_RUN_MAX - from);
		*ret_at = half + piece * SECTORS_RUN_MAX + from;
	}
}

static int write_one(struct writer *w)
{
	struct sectors_head *head = w->sectors->head;
	uint32_t number = atomic_fetch_add(&head->next, 1);
	bool zero = rng_below(&w->rng, 8) == 0;
	uint32_t mark = number << 1 | zero;
	uint32_t disk;
	uint64_t at;
	uint32_t n;
	int rc;

	pick(w, &disk, &at, &n);
	for (uint32_t i = 0; i < n; i++) {
		struct sector *s = sector_of(w->sectors, disk, at + i);

		if (zero)
			atomic_store(&s->zeroed, mark);
		atomic_store(&s->begun, mark);
		stamp(w->buf + (size_t)i * SECTOR_BYTES, disk, at + i, number);
	}
	if (zero)
		rc = w->io->zero(w->io->ctx, disk, (uint64_t)n * SECTOR_BYTES, at * SECTOR_BYTES);
	else
		rc = w->io->write(w->io->ctx, disk, w->buf, (size_t)n * SECTOR_BYTES,
			at * SECTOR_BYTES);
	for (uint32_t i = 0; rc == 0 && i < n; i++)
		atomic_store(&sector_of(w->sectors, disk, at + i)->acked, mark);
	if (rc == 0)
		atomic_fetch_add(&head->acked, 1);
	return rc;
}

/* Beside other writers: none older than what was acknowledged before the read
 * began, none that was not begun when it had ended. */
static int check_beside(struct writer *w, uint32_t disk, uint64_t at, const uint8_t *buf,
	uint32_t least)
{
	const struct sector *s = sector_of(w->sectors, disk, at);
	uint32_t number;
	bool zero;

	if (identify(buf, disk, at, &zero, &number) < 0)
		return sectors_complain(w->sectors, -EUCLEAN,
			"disk %u sector %" PRIu64 " is another's or a mixture", disk, at);
	if (zero && (atomic_load(&s->zeroed) >= least || (least & 1)))
		return 0;
	if (!zero && number >= least >> 1 && number <= atomic_load(&s->begun) >> 1)
		return 0;
	return sectors_complain(w->sectors, -EUCLEAN,
		"disk %u sector %" PRIu64 " reads as %s%u, acknowledged is %u%s", disk, at,
		zero ? "zeros " : "", number, least >> 1, least & 1 ? " (a discard)" : "");
}

static int read_one(struct writer *w)
{
	const struct sectors_head *head = w->sectors->head;
	uint32_t disk = (uint32_t)rng_below(&w->rng, head->disks);
	uint32_t n = 1 + (uint32_t)rng_below(&w->rng, SECTORS_RUN_MAX);
	uint64_t at = rng_below(&w->rng, head->per_disk - n + 1);
	uint32_t least[SECTORS_RUN_MAX];
	int rc;

	for (uint32_t i = 0; i < n; i++)
		least[i] = atomic_load(&sector_of(w->sectors, disk, at + i)->acked);
	rc = w->io->read(
		w->io->ctx, disk, w->buf, (size_t)n * SECTOR_BYTES, at * SECTOR_BYTES);
	for (uint32_t i = 0; rc == 0 && i < n; i++)
		rc = check_beside(w, disk, at + i, w->buf + (size_t)i * SECTOR_BYTES, least[i]);
	return rc;
}

int sectors_work(struct sectors *sectors, const struct sectors_io *io, uint32_t me, uint64_t seed,
	uint64_t ops, const atomic_bool *stop)
{
	struct writer *w = need_memory(calloc(1, sizeof(*w)));
	int rc = 0;

	w->sectors = sectors;
	w->io = io;
	w->me = me;
	w->rng = seed + me;
	for (uint64_t op = 0; rc == 0 && !atomic_load(stop) && (ops == 0 || op < ops); op++)
		rc = rng_below(&w->rng, 4) ? write_one(w) : read_one(w);
	free(w);
	if (rc < 0 && rc != -EUCLEAN && !io->may_vanish)
		sectors_complain(sectors, rc, "writer %u: %s", me, strerror(-rc));
	return rc;
}

/* ---- checking ---- */

/* Nothing is being written: the sector is what was acknowledged last, or what
 * was begun and not acknowledged. */
static int settle(struct sectors *sectors, uint32_t disk, uint64_t at, const uint8_t *buf)
{
	struct sector *s = sector_of(sectors, disk, at);
	uint32_t begun = atomic_load(&s->begun), acked = atomic_load(&s->acked);
	bool never_zero = at < sectors->head->base_sectors; /* before its first write */
	uint32_t number;
	bool zero;
	uint32_t marks[2] = {begun, acked};

	if (identify(buf, disk, at, &zero, &number) < 0)
		return sectors_complain(sectors, -EUCLEAN,
			"disk %u sector %" PRIu64 " is another's or a mixture", disk, at);
	for (int i = 0; i < 2; i++) {
		bool wants_zero = marks[i] ? marks[i] & 1 : !never_zero;

		if (zero != wants_zero || (!zero && number != marks[i] >> 1))
			continue;
		atomic_store(&s->acked, marks[i]);
		atomic_store(&s->begun, marks[i]);
		return 0;
	}
	return sectors_complain(sectors, -EUCLEAN,
		"disk %u sector %" PRIu64 " is %s%u, acknowledged was %u%s, begun %u%s", disk, at,
		zero ? "zeros " : "", number, acked >> 1, acked & 1 ? " (a discard)" : "",
		begun >> 1, begun & 1 ? " (a discard)" : "");
}

int sectors_check(struct sectors *sectors, const struct sectors_io *io)
{
	uint8_t *buf = need_memory(malloc(CHECK_SECTORS * SECTOR_BYTES));
	const struct sectors_head *head = sectors->head;
	int rc = 0;

	for (uint32_t disk = 0; rc == 0 && disk < head->disks; disk++) {
		for (uint32_t at = 0; rc == 0 && at < head->per_disk; at += CHECK_SECTORS) {
			uint32_t n = (uint32_t)min_u64(CHECK_SECTORS, head->per_disk - at);

			rc = io->read(io->ctx, disk, buf, (size_t)n * SECTOR_BYTES,
				(uint64_t)at * SECTOR_BYTES);
			if (rc < 0)
				sectors_complain(sectors, rc, "reading disk %u at sector %u: %s",
					disk, at, strerror(-rc));
			for (uint32_t i = 0; rc == 0 && i < n; i++)
				rc = settle(sectors, disk, at + i, buf + (size_t)i * SECTOR_BYTES);
		}
	}
	free(buf);
	return rc;
}
