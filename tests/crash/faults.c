/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Nth call fails, for each N until none does.
 *
 * A script of writes, flushes and reopens runs again and again; each time one
 * more call of one kind goes through before one fails. Then: the error was
 * reported or made no difference, nothing crashed, and the delta, opened again
 * without faults, has all that was acknowledged; after a failed sync, all that
 * had been flushed before, and until it is opened again every call fails.
 * The same for making, changing and removing a clone: all or nothing.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/store/store.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/stamps.h"
#include "tests/lib/temp.h"

#define NAME "00112233445566778899aabbccddeeff"
#define BLOCKS 64
#define NTH_MAX 1000 /* more calls than any script here makes */

struct fault {
	enum sabotage kind;
	enum sabotaged_call call;
	int error;
};

static const struct fault faults[] = {
	{SABOTAGE_FAIL, CALL_PWRITEV, -EIO},
	{SABOTAGE_FAIL, CALL_PWRITEV, -ENOSPC},
	{SABOTAGE_FAIL, CALL_PWRITEV, -EDQUOT},
	{SABOTAGE_SHORT, CALL_PWRITEV, -ENOSPC},
	{SABOTAGE_FAIL, CALL_FALLOCATE, -ENOSPC},
	{SABOTAGE_FAIL, CALL_SYNC, -EIO},
	{SABOTAGE_FAIL, CALL_SYNC, -ENOSPC},
	{SABOTAGE_FAIL, CALL_OPENAT, -EMFILE},
	{SABOTAGE_FAIL, CALL_PREAD, -EIO},
	{SABOTAGE_FAIL, CALL_MKDIRAT, -ENOSPC},
	{SABOTAGE_FAIL, CALL_RENAMEAT, -ENOSPC},
	{SABOTAGE_FAIL, CALL_UNLINKAT, -EIO},
	{SABOTAGE_FAIL, CALL_FTRUNCATE, -ENOSPC},
};

#define N_FAULTS (sizeof(faults) / sizeof(faults[0]))

static struct {
	char dir[TEMP_PATH_MAX];
	const struct fault *fault;
	uint64_t nth;
	uint64_t runs;
} t;

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "faults: %s number %" PRIu64 " gives %s%s: %s: %s\n",
		saboteur_call_names[t.fault->call], t.nth, strerror(-t.fault->error),
		t.fault->kind == SABOTAGE_SHORT ? " after a short one" : "", what, why);
	temp_dir_remove(t.dir);
	exit(1);
}

static void arm(struct saboteur *saboteur)
{
	saboteur_init(saboteur, &io_kernel);
	saboteur->kind = t.fault->kind;
	saboteur->call = t.fault->call;
	saboteur->nth = t.nth;
	saboteur->error = t.fault->error;
}

/* ---- a delta ---- */

struct script {
	struct saboteur saboteur;
	struct stamps *stamps;
	struct delta *delta;
	int dirfd;
	size_t flushed; /* operations */
	bool sync_failed;
	uint64_t failed_writes;
	uint64_t rng;
};

/* No space for a moment: QEMU pauses the guest, and goes on when there is some. */
static bool is_space_fault(void)
{
	return (t.fault->call == CALL_PWRITEV || t.fault->call == CALL_FALLOCATE) &&
	       t.fault->error != -EIO;
}

static bool is_open(struct script *s)
{
	struct err err = {.code = 0};
	int rc;

	if (s->delta)
		return true;
	rc = delta_open(s->dirfd, NAME, &(struct delta_options){.io = &s->saboteur.gate},
		&s->delta, &err);
	if (rc == 0)
		s->sync_failed = false;
	else if (rc != err.code || !err.message[0])
		fail("open", "an error without its message");
	else if (is_space_fault())
		fail("open", "refused, although reads need no space");
	return rc == 0;
}

static void script_write(struct script *s, uint32_t count, bool zero)
{
	uint32_t version = zero ? STAMP_ZERO : STAMP_FIRST + (uint32_t)s->stamps->n_ops;
	uint32_t block = (uint32_t)rng_below(&s->rng, BLOCKS - count + 1);
	struct stamp_op *op;
	uint8_t *buf;
	int rc;

	if (!is_open(s))
		return;
	buf = need_memory(malloc((size_t)count * DELTA_BLOCK_BYTES));
	stamps_fill(version, block, count, buf);
	rc = zero ? delta_zero(s->delta, block, count) :
		    delta_write(s->delta, buf, count, block);
	free(buf);
	if (rc == 0 && s->sync_failed)
		fail("write", "accepted after a failed sync");
	if (rc < 0 && rc != -EIO && rc != -ENOSPC)
		fail("write", "neither EIO nor ENOSPC");
	if (is_space_fault() && rc < 0 && rc != -ENOSPC)
		fail("write", "no space, or a quota, is not ENOSPC");
	if (rc < 0 && !s->sync_failed && s->saboteur.hits == 0)
		fail("write", "fails for no reason");
	s->failed_writes += rc < 0;
	if (is_space_fault() && s->failed_writes > s->saboteur.hits)
		fail("write", "still refused when there is space again");
	stamps_add(s->stamps, version, block, count);
	if (rc == 0)
		return;
	op = &s->stamps->ops[s->stamps->n_ops - 1];
	/* Reads may be what fails: then it may be there, whole or in part. */
	if (s->sync_failed || stamps_see_failed(s->stamps, op, s->delta) < 0) {
		op->failed = true;
		op->kept = 0;
		delta_abandon(s->delta);
		s->delta = NULL;
	}
}

static void script_flush(struct script *s)
{
	size_t ops = s->stamps->n_ops;
	int rc;

	if (!is_open(s))
		return;
	rc = delta_flush(s->delta);
	if (rc == 0 && s->sync_failed)
		fail("flush", "succeeds after a failed one");
	if (rc == 0)
		s->flushed = ops;
	else if (s->saboteur.hits == 0)
		fail("flush", "fails for no reason");
	else
		s->sync_failed = true;
}

static void script_reopen(struct script *s)
{
	size_t ops = s->stamps->n_ops;

	if (s->delta && delta_close(s->delta) == 0)
		s->flushed = ops;
	s->delta = NULL;
	is_open(s);
}

static void run_script(struct script *s)
{
	const char *steps = "1w1f1Wz1fcw1fW1WrW1f1c";

	for (; *steps; steps++) {
		switch (*steps) {
		case '1':
			script_write(s, 1, false);
			break;
		case 'w':
			script_write(s, 7, false);
			break;
		case 'W':
			script_write(s, 60, false);
			break;
		case 'z':
			script_write(s, 30, true);
			break;
		case 'f':
			script_flush(s);
			break;
		case 'r':
			if (s->delta)
				delta_abandon(s->delta);
			s->delta = NULL;
			break;
		default:
			script_reopen(s);
		}
	}
}

/* Without faults: is all there that was promised? */
static void check_script(struct script *s)
{
	uint32_t versions[BLOCKS];
	uint8_t block[DELTA_BLOCK_BYTES];
	bool killed_only = t.fault->call != CALL_SYNC;
	size_t least = killed_only ? s->stamps->n_ops : s->flushed;
	struct err err;

	if (delta_open(s->dirfd, NAME, NULL, &s->delta, &err) < 0)
		fail("opening it again", err.message);
	if (stamps_read(s->delta, BLOCKS, versions) < 0)
		fail("reading it again", "a block is unreadable or a mixture");
	if (!stamps_match(s->stamps, versions, least, s->stamps->n_ops))
		fail("reading it again", "not what was acknowledged");
	memset(block, 7, sizeof(block));
	if (delta_write(s->delta, block, 1, 0) < 0 || delta_flush(s->delta) < 0)
		fail("writing again", "refused");
	if (delta_close(s->delta) < 0)
		fail("closing it again", "fails");
}

/* true: the fault struck. */
static bool delta_run(void)
{
	struct script s = {.rng = 1};
	bool struck;
	struct err err;

	image_clear(t.dir);
	s.dirfd = open(t.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s.stamps = stamps_new(BLOCKS, NULL);
	if (delta_create(NULL, s.dirfd, NAME, BLOCKS * DELTA_BLOCK_BYTES, &err) < 0)
		fail("create", err.message);
	arm(&s.saboteur);
	run_script(&s);
	struck = s.saboteur.hits > 0;
	if (s.delta)
		delta_abandon(s.delta);
	check_script(&s);
	stamps_free(s.stamps);
	close(s.dirfd);
	return struck;
}

/* ---- a store ---- */

static struct manifest *new_manifest(void)
{
	struct manifest *m;
	struct store_disk *disk;

	if (manifest_new("web", &m) < 0)
		abort();
	disk = need_memory(manifest_add_disk(m, "vda"));
	disk->size_bytes = 1 << 20;
	disk->base_path = need_memory(strdup("/images/a.img"));
	disk->base_format = need_memory(strdup("raw"));
	disk->base_identity = need_memory(strdup("ino=1"));
	return m;
}

struct outcome {
	bool made, changed, removed; /* returned success */
};

static void store_steps(struct store *store, struct manifest *m, struct outcome *out)
{
	struct err err = {.code = 0};
	struct store_stage *stage;
	int rc = store_stage(store, m, &stage, &err);

	if (rc == 0)
		rc = store_commit(stage, &err);
	out->made = rc == 0;
	if (rc < 0 && (err.code != rc || !err.message[0]))
		fail("making a clone", "an error without its message");
	m->disks[0].uid = 107;
	rc = store_manifest_write(store, m, &err);
	out->changed = rc == 0;
	if (rc == 0 && !out->made)
		fail("changing a clone", "that was not made");
	out->removed = store_remove(store, "web", &m->id, &err) == 0;
	if (out->removed && !out->made)
		fail("removing a clone", "that was not made");
}

/* Without faults: the clone is there or not, as it was said, and the name is free
 * or can be freed. */
static void check_store(const char *path, struct manifest *m, const struct outcome *out)
{
	struct manifest *found = NULL;
	struct store_stage *stage;
	struct store *store;
	char **names;
	uint32_t count;
	struct err err;
	char name[ID_TEXT];

	if (store_create(&io_kernel, path, &err) < 0 ||
		store_open(&io_kernel, path, &store, &err) < 0 ||
		store_list(store, &names, &count, &err) < 0)
		fail("opening the store again", err.message);
	store_names_free(names, count);
	if (count > 0 && store_manifest_read(store, "web", &found, &err) < 0)
		fail("reading the clone again", err.message);
	if (count > 0 && (out->removed || !out->made))
		fail("looking again", "a clone is there that should not be");
	if (count == 0 && out->made && !out->removed &&
		!(t.fault->call == CALL_SYNC || t.fault->call == CALL_UNLINKAT))
		fail("looking again", "the clone is gone");
	if (found && out->changed && found->disks[0].uid != 107)
		fail("looking again", "a change is lost");
	id_format(&m->id, name);
	if (store_sweep(store, &err) < 0 || store_stage_sweep(store, name, &err) < 0 ||
		(count > 0 && store_remove(store, "web", &m->id, &err) < 0) ||
		store_stage(store, m, &stage, &err) < 0 || store_commit(stage, &err) < 0)
		fail("making the clone again", err.message);
	manifest_free(found);
	store_close(store);
}

static bool store_run(void)
{
	struct outcome out = {.made = false};
	struct manifest *m = new_manifest();
	char path[TEMP_PATH_MAX + 16];
	struct saboteur saboteur;
	struct store *store;
	struct err err;
	bool struck;

	image_clear(t.dir);
	snprintf(path, sizeof(path), "%s/deep/store", t.dir);
	arm(&saboteur);
	if (store_create(&saboteur.gate, path, &err) == 0 &&
		store_open(&saboteur.gate, path, &store, &err) == 0) {
		store_steps(store, m, &out);
		store_close(store);
	} else if (saboteur.hits == 0 || !err.message[0]) {
		fail("making the store", "fails for no reason, or without a message");
	}
	struck = saboteur.hits > 0;
	check_store(path, m, &out);
	manifest_free(m);
	return struck;
}

/* Each N until the fault does not strike any more. */
static void each_nth(bool (*one_run)(void))
{
	bool struck = true;

	for (t.nth = 1; struck; t.nth++) {
		if (t.nth == NTH_MAX)
			fail("looping", "no end of calls");
		struck = one_run();
		t.runs++;
	}
}

int main(void)
{
	temp_dir_fast("faults", t.dir);
	for (size_t i = 0; i < N_FAULTS; i++) {
		uint64_t before = t.runs;

		t.fault = &faults[i];
		each_nth(delta_run);
		each_nth(store_run);
		printf("  %-10s %-32s %4" PRIu64 " runs\n", saboteur_call_names[t.fault->call],
			strerror(-t.fault->error), t.runs - before);
	}
	temp_dir_remove(t.dir);
	printf("faults: %" PRIu64 " runs\n", t.runs);
	printf("%zu passed, 0 failed\n", N_FAULTS);
	return 0;
}
