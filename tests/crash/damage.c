/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Damage to what was flushed: refused or EIO, never other data, never a block lost in silence.
 *
 * A delta with several segments and lives is closed, or left as a kill leaves
 * it, all of it flushed. Then each of many places of its files is damaged in
 * turn: a bit, a sector of zeros, a page of another place, a shorter file.
 * Opening may refuse; if it does not, each block must read as what it was or
 * fail. Only a log's very end may be taken for a torn one where nothing says
 * that it was flushed: there, what is read is an earlier state, whole.
 *
 * SEED=, PLACES= of each kind (default 250).
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
#include "fs/util/io.h"
#include "fs/util/round.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"
#include "tests/lib/stamps.h"
#include "tests/lib/temp.h"

#define NAME "00112233445566778899aabbccddeeff"
#define BLOCKS 96
#define PAGE_BYTES 4096u

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
	bool clean;
	struct file log, super;
	uint32_t versions[BLOCKS];
	struct stamps *stamps;
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
	int fd = openat(t.dirfd, file->name, O_WRONLY | O_CLOEXEC);

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

/* Three lives, the first of several segments; the last one ends cleanly or not. */
static void make(bool clean)
{
	uint32_t version = STAMP_FIRST;
	struct delta *delta;

	image_clear(t.dir);
	t.clean = clean;
	stamps_free(t.stamps);
	t.stamps = stamps_new(BLOCKS, NULL);
	if (delta_create(NULL, t.dirfd, NAME, BLOCKS * DELTA_BLOCK_BYTES, NULL) < 0)
		fail("cannot create");
	for (int life = 0; life < 3; life++) {
		if (delta_open(t.dirfd, NAME, NULL, &delta, NULL) < 0)
			fail("cannot open");
		for (int i = 0; i < (life == 0 ? 12 : 3); i++)
			write_some(delta, version++, 1 + (uint32_t)rng_below(&t.rng, 64));
		if (delta_flush(delta) < 0 || stamps_read(delta, BLOCKS, t.versions) < 0)
			fail("cannot flush");
		if (life < 2 ? life == 0 : clean)
			delta_close(delta);
		else
			delta_abandon(delta);
	}
	load(&t.log, NAME ".log");
	load(&t.super, NAME ".super");
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
	if (t.clean || !stamps_match(t.stamps, found, t.stamps->n_ops - 3, t.stamps->n_ops)) {
		fprintf(stderr, "damage: %s: ", what);
		fail("blocks were lost in silence");
	}
}

static void try_it(const char *what)
{
	struct delta *delta;
	struct err err;
	int rc = delta_open(t.dirfd, NAME, NULL, &delta, &err);

	if (rc == -EUCLEAN) {
		t.refused++;
		return;
	}
	if (rc < 0)
		fail("refused by another code than EUCLEAN");
	look(delta, what);
	delta_abandon(delta);
}

/* A damaged copy of file at a place that is written; the original comes back. */
static void damage(struct file *file, enum damage kind)
{
	struct file bad = {.name = file->name, .len = file->len};
	uint64_t at = rng_below(&t.rng, file->len);
	char what[120];

	bad.data = need_memory(malloc(file->len));
	memcpy(bad.data, file->data, file->len);
	/* Most of a slot is empty: rather damage what there is. */
	while (kind != DAMAGE_CUT && bad.data[at] == 0)
		at = rng_below(&t.rng, file->len);
	if (kind == DAMAGE_BIT)
		bad.data[at] ^= (char)(1 << rng_below(&t.rng, 8));
	else if (kind == DAMAGE_SECTOR)
		memset(bad.data + round_down(at, 512), 0, 512);
	else if (kind == DAMAGE_PAGE)
		memcpy(bad.data + round_down(at, PAGE_BYTES),
			file->data + round_down(rng_below(&t.rng, file->len), PAGE_BYTES),
			PAGE_BYTES);
	else
		bad.len = at;
	snprintf(what, sizeof(what), "%s in %s at %" PRIu64, damage_names[kind], file->name, at);
	save(&bad);
	try_it(what);
	save(&t.log);
	save(&t.super);
	free(bad.data);
}

int main(void)
{
	uint64_t seed = rng_seed();
	uint64_t places = env_number("PLACES", 250);
	uint64_t whole;

	printf("damage: SEED=%" PRIu64 "\n", seed);
	fflush(stdout);
	t.rng = seed;
	temp_dir_fast("damage", t.dir);
	t.dirfd = open(t.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int clean = 0; clean < 2; clean++) {
		make(clean);
		for (int kind = 0; kind < N_DAMAGES; kind++) {
			for (uint64_t i = 0; i < places; i++)
				damage(i % 8 ? &t.log : &t.super, (enum damage)kind);
		}
		/* Undamaged it opens, or all the refusals say nothing. */
		save(&t.log);
		save(&t.super);
		whole = t.whole;
		try_it("no damage");
		if (t.whole != whole + 1)
			fail("refused without any damage");
	}
	printf("damage: %" PRIu64 " refused, %" PRIu64 " whole all the same, %" PRIu64
	       " with blocks that fail, %" PRIu64 " taken for a torn end\n",
		t.refused, t.whole, t.failed, t.earlier);
	stamps_free(t.stamps);
	free(t.log.data);
	free(t.super.data);
	close(t.dirfd);
	temp_dir_remove(t.dir);
	printf("1 passed, 0 failed\n");
	return 0;
}
