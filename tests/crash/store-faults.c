/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Nth call or allocation fails while clones are made, changed, frozen, reset and removed: all or nothing.
 *
 * Errors are reported with a message, nothing crashes; then, without faults,
 * each clone is there or not as it was said, both disks of one are on the same
 * side of a freeze or reset, all that was acknowledged is there, and everything
 * can be done again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/store/store.h"
#include "tests/lib/faultloop.h"
#include "tests/lib/image.h"
#include "tests/lib/pair.h"
#include "tests/lib/stamps.h"

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
	int rc = PRODUCT(store_stage(store, m, &stage, &err));

	if (rc == 0)
		rc = PRODUCT(store_commit(stage, &err));
	out->made = rc == 0;
	if (rc < 0 && (err.code != rc || !err.message[0]))
		faultloop_fail("making a clone", "an error without its message");
	m->disks[0].uid = 107;
	rc = PRODUCT(store_manifest_write(store, m, &err));
	out->changed = rc == 0;
	if (rc == 0 && !out->made)
		faultloop_fail("changing a clone", "that was not made");
	out->removed = PRODUCT(store_remove(store, "web", &m->id, &err)) == 0;
	if (out->removed && !out->made)
		faultloop_fail("removing a clone", "that was not made");
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
		faultloop_fail("opening the store again", err.message);
	store_names_free(names, count);
	if (count > 0 && store_manifest_read(store, "web", &found, &err) < 0)
		faultloop_fail("reading the clone again", err.message);
	if (count > 0 && (out->removed || !out->made))
		faultloop_fail("looking again", "a clone is there that should not be");
	if (count == 0 && out->made && !out->removed &&
		!(!faultloop_is_memory() &&
			(faultloop.fault->call == CALL_SYNC ||
				faultloop.fault->call == CALL_UNLINKAT)))
		faultloop_fail("looking again", "the clone is gone");
	if (found && out->changed && found->disks[0].uid != 107)
		faultloop_fail("looking again", "a change is lost");
	id_format(&m->id, name);
	if (store_sweep(store, &err) < 0 || store_stage_sweep(store, name, &err) < 0 ||
		(count > 0 && store_remove(store, "web", &m->id, &err) < 0) ||
		store_stage(store, m, &stage, &err) < 0 || store_commit(stage, &err) < 0)
		faultloop_fail("making the clone again", err.message);
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

	image_clear(faultloop.dir);
	snprintf(path, sizeof(path), "%s/deep/store", faultloop.dir);
	faultloop_arm(&saboteur);
	if (PRODUCT(store_create(&saboteur.gate, path, &err)) == 0 &&
		PRODUCT(store_open(&saboteur.gate, path, &store, &err)) == 0) {
		store_steps(store, m, &out);
		store_close(store);
	} else if (faultloop_hits(&saboteur) == 0 || !err.message[0]) {
		faultloop_fail("making the store", "fails for no reason, or without a message");
	}
	struck = faultloop_hits(&saboteur) > 0;
	faultloop_disarm(&saboteur);
	check_store(path, m, &out);
	manifest_free(m);
	return struck;
}

/* ---- a clone with two disks ---- */

#define BLOCKS 16

/* What each disk holds after the steps; each is either done or not. */
struct phases {
	uint32_t written[PAIR_DISKS][BLOCKS]; /* before the freeze */
	uint32_t later[PAIR_DISKS][BLOCKS];   /* written on top */
	bool begun_later[PAIR_DISKS], later_known[PAIR_DISKS];
	bool froze, reset, reset_begun, struck;
};

static void write_to(struct pair *pair, uint32_t i, uint32_t version, uint32_t block,
	uint32_t count, uint32_t *model, bool *ret_done)
{
	uint8_t buf[BLOCKS * DELTA_BLOCK_BYTES];
	int rc;

	stamps_fill(version, block, count, buf);
	rc = PRODUCT(delta_write(pair->disk[i].delta, buf, count, block));
	*ret_done = rc == 0;
	for (uint32_t b = 0; b < count; b++)
		model[block + b] = stamps_value(version, block + b);
}

/* Freeze, write on top, reset: as far as it goes. */
static void pair_steps(struct pair *pair, struct saboteur *saboteur, struct phases *p)
{
	struct err err = {.code = 0};
	int rc;

	rc = PRODUCT(pair_freeze(pair, "monday", &err));
	if (rc < 0 && (faultloop_hits(saboteur) == 0 || err.code != rc || !err.message[0]))
		if (rc != -ENOTRECOVERABLE)
			faultloop_fail("freezing", "fails for no reason, or without a message");
	p->froze = rc == 0;
	if (rc < 0)
		return;
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		memcpy(p->later[i], p->written[i], sizeof(p->later[i]));
		p->begun_later[i] = true;
		write_to(pair, i, STAMP_FIRST + 10 + i, 2, 5, p->later[i], &p->later_known[i]);
		if (!p->later_known[i])
			return;
	}
	p->reset_begun = true;
	rc = PRODUCT(pair_reset(pair, NULL, &err));
	if (rc < 0 && faultloop_hits(saboteur) == 0)
		faultloop_fail("resetting", "fails for no reason");
	p->reset = rc == 0;
}

static bool same(const uint32_t *a, const uint32_t *b)
{
	return memcmp(a, b, BLOCKS * sizeof(*a)) == 0;
}

/* A write that failed may be there in part: its first blocks. */
static bool partly(const uint32_t *found, const struct phases *p, uint32_t i)
{
	for (uint32_t b = 0; b < BLOCKS; b++)
		if (found[b] != p->written[i][b] && found[b] != p->later[i][b])
			return false;
	return true;
}

static void check_pair_disk(const struct phases *p, uint32_t i, const uint32_t *found,
	bool *ret_was_reset)
{
	bool base = same(found, p->written[i]);

	*ret_was_reset = base;
	if (base && (!p->later_known[i] || p->reset_begun))
		return;
	if (p->begun_later[i] && !p->later_known[i] && partly(found, p, i))
		return;
	if (p->later_known[i] && !p->reset && same(found, p->later[i]))
		return;
	faultloop_fail("looking again", "a disk is neither before nor after what failed");
}

/* Without faults: both disks on the same side of the reset, and all works. */
static void check_pair(const char *path, const struct phases *p)
{
	uint32_t found[PAIR_DISKS][BLOCKS];
	bool was_reset[PAIR_DISKS];
	struct pair pair;
	struct err err;

	if (pair_open(&io_kernel, path, BLOCKS, &pair, &err) < 0)
		faultloop_fail("opening the clone again", err.message);
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		if (pair_read(&pair, i, found[i]) < 0)
			faultloop_fail("reading the clone again", "a block is a mixture, or EIO");
		check_pair_disk(p, i, found[i], &was_reset[i]);
	}
	if (p->reset_begun && was_reset[0] != was_reset[1])
		faultloop_fail("looking again", "one disk is reset and the other is not");
	if (pair.m->disks[0].n_layers != pair.m->disks[1].n_layers ||
		pair.m->n_snapshots != pair.m->disks[0].n_layers ||
		(p->froze && pair.m->n_snapshots != 1))
		faultloop_fail("looking again", "half a freeze");
	if (pair_freeze(&pair, "tuesday", &err) < 0 || pair_reset(&pair, "", &err) == 0 ||
		pair_reset(&pair, NULL, &err) < 0)
		faultloop_fail("going on", err.message);
	if (pair_close(&pair) < 0)
		faultloop_fail("closing", "fails");
}

static void pair_life(const char *path, struct phases *p)
{
	struct saboteur saboteur;
	struct pair pair;
	struct err err;
	bool done;

	saboteur_init(&saboteur, &io_kernel);
	if (pair_make(&io_kernel, path, BLOCKS, &err) < 0 ||
		pair_open(&saboteur.gate, path, BLOCKS, &pair, &err) < 0)
		faultloop_fail("making the clone", err.message);
	for (uint32_t i = 0; i < PAIR_DISKS; i++) {
		write_to(&pair, i, STAMP_FIRST + i, 0, 9, p->written[i], &done);
		if (!done || delta_flush(pair.disk[i].delta) < 0)
			faultloop_fail("filling the clone", "fails");
	}
	faultloop_arm(&saboteur);
	pair_steps(&pair, &saboteur, p);
	p->struck = faultloop_hits(&saboteur) > 0;
}

/* In a process of its own, as a change of which nobody knows whether it was
 * done keeps its lock until the process ends. */
static bool pair_run(void)
{
	struct phases *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[TEMP_PATH_MAX + 16];
	int status = -1;
	bool struck;
	pid_t pid;

	image_clear(faultloop.dir);
	snprintf(path, sizeof(path), "%s/store", faultloop.dir);
	fflush(NULL);
	pid = p == MAP_FAILED ? -1 : fork();
	if (pid == 0) {
		pair_life(path, p);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		faultloop_fail("the process", "did not end well");
	check_pair(path, p);
	struck = p->struck;
	munmap(p, sizeof(*p));
	return struck;
}

int main(void)
{
	fault_fn *const scenarios[] = {store_run, pair_run};

	return faultloop_main("store-faults", scenarios, 2);
}
