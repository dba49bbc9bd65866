/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Damage to what was flushed: refused or EIO, never other data, never a block lost in silence.
 *
 * A delta with several segments and lives, with moved blocks, zeros, freed and
 * reused slots, and a checkpoint, is closed, or left as a kill leaves it, or
 * frozen, all of it flushed. Then it is damaged, one place at a time:
 *
 *	a bit of each byte of the super blocks, of every segment header, used or
 *	free, of each record's head, table and block sums, of the checkpoint's
 *	header; of some bytes of each payload, and of the checkpoint's rest;
 *	a sector of zeros, a page of another place, a shorter file, at random.
 *
 * Opening may refuse; if it does not, each block must read as what it was or
 * fail. A damaged checkpoint makes no difference at all. Only the last life's
 * records behind the last durable mark may be taken for a torn end (format.h,
 * "not detected"): there, what is read is an earlier state, whole; how often
 * is counted.
 *
 * SEED=, PLACES= of each random kind (default 250).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/store/scan.h"
#include "fs/util/io.h"
#include "fs/util/round.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"
#include "tests/lib/stamps.h"
#include "tests/lib/temp.h"

#define NAME "00112233445566778899aabbccddeeff"
#define BLOCKS 96
#define PAGE_BYTES 4096u

/* How the delta ends. */
enum ending { KILLED, CLOSED, FROZEN, N_ENDINGS };

static const char *const ending_names[N_ENDINGS] = {"killed", "closed", "frozen"};

enum damage { DAMAGE_BIT, DAMAGE_SECTOR, DAMAGE_PAGE, DAMAGE_CUT, N_DAMAGES };

static const char *const damage_names[N_DAMAGES] = {
	"one bit", "a sector of zeros", "a page of another place", "a shorter file"};

struct file {
	const char *name;
	char *data;
	size_t len;
};

static struct {
	uint64_t rng;
	char dir[TEMP_PATH_MAX];
	int dirfd;
	enum ending ending;
	struct file log, super, ckpt;
	uint32_t versions[BLOCKS];
	struct stamps *stamps;
	size_t last_life; /* operations before it */
	uint64_t flips, moved, freed;
	uint64_t refused, failed, whole, earlier;
} t;

static void fail(const char *what)
{
	fprintf(stderr, "damage: %s\n", what);
	temp_dir_remove(t.dir);
	exit(1);
}

static void load(struct file *file, const char *name)
{
	file->name = name;
	free(file->data);
	if (io_slurp(&io_kernel, t.dirfd, name, 64 << 20, &file->data, &file->len) < 0)
		fail("cannot load");
}

static void save(const struct file *file)
{
	int fd = openat(t.dirfd, file->name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)file->len) < 0 ||
		io_write_full(&io_kernel, fd, file->data, file->len, 0) < 0)
		fail("cannot save");
	close(fd);
}

static void write_some(struct delta *delta, uint32_t version, uint32_t count)
{
	static uint8_t buf[BLOCKS * DELTA_BLOCK_BYTES];
	uint32_t block = (uint32_t)rng_below(&t.rng, BLOCKS - count + 1);

	stamps_fill(version, block, count, buf);
	if (delta_write(delta, buf, count, block) < 0)
		fail("cannot write");
	stamps_add(t.stamps, version, block, count);
}

static void clean(struct delta *delta)
{
	uint64_t moved;
	int rc;

	do {
		rc = delta_clean(delta, UINT64_C(1) << 20, &moved);
		t.moved += moved;
	} while (rc > 0);
	if (rc < 0)
		fail("cannot clean");
}

/* One life's writes: with dead segments, and in the middle a cleaning. */
static void work(struct delta *delta, uint32_t *version, int writes)
{
	for (int i = 0; i < writes; i++)
		write_some(delta, (*version)++, 1 + (uint32_t)rng_below(&t.rng, i % 3 ? 8 : 64));
	if (delta_zero(delta, 3, 9) < 0)
		fail("cannot zero");
	stamps_add(t.stamps, STAMP_ZERO, 3, 9);
	clean(delta);
	write_some(delta, (*version)++, 5);
	if (delta_flush(delta) < 0)
		fail("cannot flush");
}

static void end_life(struct delta *delta, int life)
{
	bool last = life == 2;

	if (life == 1 && delta_checkpoint(delta) < 0)
		fail("no checkpoint");
	if (last && t.ending == FROZEN && delta_freeze(delta) < 0)
		fail("cannot freeze");
	if (last ? t.ending == CLOSED : life == 0)
		delta_close(delta);
	else
		delta_abandon(delta);
}

/* Three lives, the first of several segments; the last one ends as t.ending says. */
static void make(enum ending ending)
{
	uint32_t version = STAMP_FIRST;
	struct delta *delta;

	image_clear(t.dir);
	t.ending = ending;
	stamps_free(t.stamps);
	t.stamps = stamps_new(BLOCKS, NULL);
	if (delta_create(NULL, t.dirfd, NAME, BLOCKS * DELTA_BLOCK_BYTES, NULL) < 0)
		fail("cannot create");
	for (int life = 0; life < 3; life++) {
		t.last_life = t.stamps->n_ops;
		if (delta_open(t.dirfd, NAME, NULL, &delta, NULL) < 0)
			fail("cannot open");
		work(delta, &version, life == 0 ? 12 : 4);
		if (stamps_read(delta, BLOCKS, t.versions) < 0)
			fail("cannot read");
		end_life(delta, life);
	}
	load(&t.log, NAME ".log");
	load(&t.super, NAME ".super");
	load(&t.ckpt, NAME ".ckpt");
}

/* Reads each block by itself, so that one that fails hides no other. */
static void look(struct delta *delta, const char *what)
{
	static uint8_t buf[DELTA_BLOCK_BYTES];
	uint32_t found[BLOCKS];
	bool failed = false;

	for (uint32_t b = 0; b < BLOCKS; b++) {
		enum delta_owner owner = DELTA_ABSENT;
		int rc = delta_read(delta, buf, 1, b, false, &owner);

		found[b] = STAMP_ABSENT;
		if (rc < 0 && rc != -EIO)
			fail("a read fails otherwise than by EIO");
		if (rc < 0) {
			failed = true;
			found[b] = t.versions[b];
		} else if (owner != DELTA_ABSENT && stamps_identify(buf, b, &found[b]) < 0) {
			fail("damaged bytes were read as data");
		}
	}
	t.failed += failed;
	if (memcmp(found, t.versions, sizeof(found)) == 0) {
		t.whole++;
		return;
	}
	t.earlier++;
	if (t.ending != KILLED ||
		!stamps_match(t.stamps, found, t.last_life, t.stamps->n_ops)) {
		for (uint32_t b = 0; b < BLOCKS; b++) {
			if (found[b] != t.versions[b])
				fprintf(stderr, "damage: block %u is %u, was %u\n", b, found[b],
					t.versions[b]);
		}
		fprintf(stderr, "damage: %s%s: ", what,
			faccessat(t.dirfd, t.ckpt.name, F_OK, 0) ? ", no checkpoint" : "");
		fail("blocks were lost in silence");
	}
}

static void try_it(const char *what)
{
	struct delta *delta;
	struct err err;
	const struct delta_options options = {.layer = t.ending == FROZEN};
	int rc = delta_open(t.dirfd, NAME, &options, &delta, &err);

	if (rc == -EUCLEAN) {
		t.refused++;
		return;
	}
	if (rc < 0)
		fail(err.message);
	look(delta, what);
	delta_abandon(delta);
}

/* All files as they were; now and then without the checkpoint, which is a cache. */
static void restore(bool all)
{
	save(&t.log);
	save(&t.super);
	if (all || rng_below(&t.rng, 2))
		save(&t.ckpt);
	else
		unlinkat(t.dirfd, t.ckpt.name, 0);
}

/* A damaged copy of file at a place that is written; the original comes back. */
static void damage(struct file *file, enum damage kind, uint64_t at)
{
	struct file bad = {.name = file->name, .len = file->len};
	uint64_t from = round_down(rng_below(&t.rng, file->len), PAGE_BYTES);
	uint64_t to = round_down(at, PAGE_BYTES);
	uint64_t whole = t.whole;
	char what[120];

	bad.data = need_memory(malloc(file->len));
	memcpy(bad.data, file->data, file->len);
	if (kind == DAMAGE_BIT)
		bad.data[at] ^= (char)(1 << rng_below(&t.rng, 8));
	else if (kind == DAMAGE_SECTOR)
		memset(bad.data + round_down(at, 512), 0,
			min_u64(512, file->len - round_down(at, 512)));
	else if (kind == DAMAGE_PAGE)
		memcpy(bad.data + to, file->data + from,
			min_u64(PAGE_BYTES, file->len - max_u64(from, to)));
	else
		bad.len = at;
	snprintf(what, sizeof(what), "%s: %s in %s at %" PRIu64, ending_names[t.ending],
		damage_names[kind], file->name, at);
	restore(file == &t.ckpt);
	save(&bad);
	try_it(what);
	if (file == &t.ckpt && t.whole != whole + 1)
		fail("a damaged checkpoint makes a difference");
	free(bad.data);
}

static void flip(struct file *file, uint64_t from, uint64_t end, uint64_t step)
{
	for (uint64_t at = from; at < end && at < file->len; at += step) {
		damage(file, DAMAGE_BIT, at);
		t.flips++;
	}
}

/* Head and table, each block's sum, and three bytes of its payload. */
static int flip_record(void *ctx, const struct scan_record *found)
{
	const struct record *r = found->record;
	uint64_t at = slot_start(found->slot) + found->off;
	const uint64_t step = *(const uint64_t *)ctx;

	flip(&t.log, at, at + r->body, step);
	at += r->body;
	for (uint32_t i = 0; i < r->n; i++) {
		if (r->len[i] == 0)
			continue;
		flip(&t.log, at, at + FORMAT_BLOCK_SUM, step);
		at += FORMAT_BLOCK_SUM;
		flip(&t.log, at, at + r->len[i], r->len[i] / 3 + 1);
		at += r->len[i];
	}
	return 0;
}

/* step: every so many-th byte of what is checked whole. */
static void flip_fields(uint64_t step)
{
	struct scan *scan;
	struct scan_end end;
	struct err err;

	flip(&t.super, 0, sizeof(struct format_super), 1 + step * 4);
	flip(&t.super, sizeof(struct format_super), 2 * sizeof(struct format_super), 1 + step * 4);
	flip(&t.ckpt, 0, 256, step);
	flip(&t.ckpt, FORMAT_PAGE, t.ckpt.len, 11 * step);
	restore(true);
	if (scan_open(&io_kernel, t.dirfd, NAME, &scan, &err) < 0)
		fail(err.message);
	for (uint32_t slot = 0; slot < scan->n_slots; slot++) {
		enum scan_kind kind = scan->slots[slot].kind;

		if (kind == SCAN_NEVER)
			continue;
		t.freed += kind == SCAN_FREE;
		flip(&t.log, slot_start(slot), slot_start(slot) + sizeof(struct format_segment),
			step);
		restore(true);
		if (kind == SCAN_SEGMENT)
			scan_records(scan, slot, UINT64_MAX, 0, flip_record, &step, &end);
	}
	scan_close(scan);
}

static struct file *some_file(uint64_t i)
{
	return i % 8 == 0 ? &t.super : i % 8 == 1 ? &t.ckpt : &t.log;
}

static void random_places(uint64_t places)
{
	for (int kind = DAMAGE_SECTOR; kind < N_DAMAGES; kind++) {
		for (uint64_t i = 0; i < places; i++) {
			struct file *file = some_file(i);
			uint64_t at = rng_below(&t.rng, file->len);

			/* Most of a slot is empty: rather damage what there is. */
			while (kind != DAMAGE_CUT && file->data[at] == 0)
				at = rng_below(&t.rng, file->len);
			damage(file, (enum damage)kind, at);
		}
	}
}

int main(void)
{
	uint64_t seed = rng_seed();
	uint64_t places = env_number("PLACES", 250);
	bool deep = env_number("DEEP", 0);
	uint64_t whole;

	printf("damage: SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	t.rng = seed;
	temp_dir_fast("damage", t.dir);
	t.dirfd = open(t.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int ending = 0; ending < N_ENDINGS; ending++) {
		make((enum ending)ending);
		flip_fields(deep ? 1 : 3);
		random_places(places);
		/* Undamaged it opens, or all the refusals say nothing. */
		restore(true);
		whole = t.whole;
		try_it("no damage");
		if (t.whole != whole + 1)
			fail("refused without any damage");
	}
	printf("damage: %" PRIu64 " bits, %" PRIu64 " moved bytes and %" PRIu64
	       " free headers among them\n", t.flips, t.moved, t.freed);
	printf("damage: %" PRIu64 " refused, %" PRIu64 " whole all the same, %" PRIu64
	       " with blocks that fail, %" PRIu64 " taken for a torn end\n",
		t.refused, t.whole, t.failed, t.earlier);
	stamps_free(t.stamps);
	free(t.log.data);
	free(t.super.data);
	free(t.ckpt.data);
	close(t.dirfd);
	temp_dir_remove(t.dir);
	printf("1 passed, 0 failed\n");
	return 0;
}
