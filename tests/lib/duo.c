/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing, freezing, resetting, removing: see duo.h. */
#include "tests/lib/duo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/delta.h"
#include "fs/store/freeze.h"
#include "fs/store/layers.h"
#include "tests/lib/image.h"
#include "tests/lib/temp.h"

/* ---- phases ---- */

struct duo_phase *duo_now(struct duo_history *h)
{
	return &h->phase[h->n_phases - 1];
}

struct duo_phase *duo_begin_phase(struct duo *duo)
{
	struct duo_history *h = duo->h;
	struct duo_phase *phase = &h->phase[h->n_phases];

	if (h->n_phases == DUO_PHASES_MAX)
		abort();
	*phase = h->n_phases > 0 ? h->phase[h->n_phases - 1] : (struct duo_phase){0};
	phase->begun = recorder_length(duo->rec);
	phase->ended = SIZE_MAX;
	h->n_phases++;
	return phase;
}

int duo_end_phase(struct duo *duo, int rc)
{
	if (rc == 0)
		duo_now(duo->h)->ended = recorder_length(duo->rec);
	return rc;
}

/* ---- what a daemon does ---- */

struct manifest *duo_new_manifest(const char *name, const struct manifest *from)
{
	struct manifest *m;

	if (manifest_new(name, &m) < 0)
		abort();
	for (int i = 0; i < DUO_DISKS; i++) {
		struct store_disk *disk = need_memory(manifest_add_disk(m, i ? "vdb" : "vda"));

		disk->size_bytes = DUO_DISK_BYTES;
		disk->base_path = need_memory(strdup("/images/a.img"));
		disk->base_format = need_memory(strdup("raw"));
		disk->base_identity = need_memory(strdup("ino=1"));
		disk->mode = 0600;
		disk->n_layers = from ? from->disks[i].n_layers : 0;
		disk->layers = need_memory(calloc(disk->n_layers + 1, sizeof(*disk->layers)));
		if (from)
			memcpy(disk->layers, from->disks[i].layers,
				disk->n_layers * sizeof(*disk->layers));
	}
	return m;
}

int duo_make_clone(struct duo *duo, const struct manifest *m, struct err *err)
{
	struct store_stage *stage;
	int rc = store_stage(duo->store, m, &stage, err);

	return rc < 0 ? rc : store_commit(stage, err);
}

static int open_log(const struct io_gate *io, int dirfd, const struct id *id, bool layer,
	struct delta **ret_delta, struct err *err)
{
	const struct delta_options options = {.io = io, .layer = layer};
	char name[ID_TEXT];

	id_format(id, name);
	return delta_open(dirfd, name, &options, ret_delta, err);
}

static int open_and_write(struct duo *duo, int i, uint8_t value, struct delta **ret_delta,
	struct err *err)
{
	static uint8_t block[DELTA_BLOCK_BYTES];
	int dirfd = store_clone_dirfd(duo->store, duo->m->name);
	int rc = open_log(duo->io, dirfd, &duo->m->disks[i].log, false, ret_delta, err);

	if (dirfd >= 0)
		duo->io->close(duo->io, dirfd);
	if (rc < 0)
		return rc;
	memset(block, value, sizeof(block));
	rc = delta_write(*ret_delta, block, 1, DUO_BLOCK);
	if (rc == 0)
		return 0;
	delta_abandon(*ret_delta);
	return err_sys(err, rc, "write");
}

/* Open the delta of a disk, write, flush, close. */
static int write_disk(struct duo *duo, int i, uint8_t value, struct err *err)
{
	struct delta *delta;
	int rc = open_and_write(duo, i, value, &delta, err);

	if (rc < 0)
		return rc;
	rc = delta_flush(delta);
	if (rc == 0)
		duo_now(duo->h)->ended = recorder_length(duo->rec);
	/* Not closed: a daemon is killed rather than stopped. */
	delta_abandon(delta);
	return rc < 0 ? err_sys(err, rc, "flush") : 0;
}

int duo_write(struct duo *duo, uint8_t value, struct err *err)
{
	int rc = 0;

	for (int i = 0; rc == 0 && i < DUO_DISKS; i++) {
		duo_begin_phase(duo)->value[i] = value;
		rc = write_disk(duo, i, value, err);
	}
	return rc;
}

int duo_write_loose(struct duo *duo, uint8_t value, struct err *err)
{
	duo_begin_phase(duo)->value[0] = value;
	return open_and_write(duo, 0, value, &duo->loose, err);
}

static void drop_loose(struct duo *duo)
{
	if (duo->loose)
		delta_abandon(duo->loose);
	duo->loose = NULL;
}

static void take(struct duo *duo, struct manifest *next)
{
	manifest_free(duo->m);
	duo->m = next;
}

/* The deltas are open as in a daemon: the frozen ones are marked after the commit. */
static int swap(struct duo *duo, const struct manifest *next, struct err *err)
{
	struct store_change *change;
	struct delta *old[DUO_DISKS] = {NULL};
	int fd = store_clone_dirfd(duo->store, duo->m->name);
	int rc = 0;

	for (int i = 0; rc == 0 && i < DUO_DISKS; i++) {
		rc = open_log(duo->io, fd, &duo->m->disks[i].log, false, &old[i], err);
		if (rc == 0)
			rc = delta_flush(old[i]);
	}
	if (rc == 0)
		rc = store_change_begin(duo->store, duo->m, next, &change, err);
	if (rc == 0) {
		rc = store_change_commit(change, err);
		if (rc == 0)
			duo_end_phase(duo, 0);
		for (int i = 0; rc == 0 && i < DUO_DISKS; i++)
			delta_freeze(old[i]);
		store_change_end(change);
	}
	for (int i = 0; i < DUO_DISKS; i++)
		if (old[i])
			delta_abandon(old[i]);
	if (fd >= 0)
		duo->io->close(duo->io, fd);
	return rc;
}

int duo_freeze(struct duo *duo, const char *name, struct err *err)
{
	const uint64_t sizes[DUO_DISKS] = {DUO_DISK_BYTES, DUO_DISK_BYTES};
	struct manifest *next;
	int rc = freeze_plan(duo->m, sizes, name, &next, err);

	if (rc < 0)
		return rc;
	duo_begin_phase(duo)->layers++;
	rc = swap(duo, next, err);
	if (rc == 0)
		take(duo, next);
	else
		manifest_free(next);
	return rc;
}

int duo_reset(struct duo *duo, const char *to, uint32_t layers, uint8_t value,
	struct err *err)
{
	struct duo_phase *phase = duo_begin_phase(duo);
	struct manifest *next;
	int rc;

	phase->layers = layers;
	phase->value[0] = phase->value[1] = value;
	rc = store_reset(duo->store, duo->m, to, NULL, &next, err);
	if (rc == 0) {
		drop_loose(duo);
		take(duo, next);
	}
	return duo_end_phase(duo, rc);
}

int duo_forget(struct duo *duo, struct err *err)
{
	store_snapshot_release(&duo->m->snapshots[0]);
	duo->m->n_snapshots = 0;
	return store_manifest_write(duo->store, duo->m, err);
}

int duo_remove(struct duo *duo, struct err *err)
{
	int rc;

	duo_begin_phase(duo)->there = false;
	rc = store_remove(duo->store, "web", &duo->m->id, err);
	take(duo, NULL);
	return duo_end_phase(duo, rc);
}

/* As a daemon that starts. */
int duo_start(struct duo *duo, const char *root, struct err *err)
{
	char path[TEMP_PATH_MAX + 8];
	int rc;

	snprintf(path, sizeof(path), "%s/store", root);
	rc = store_open(duo->io, path, &duo->store, err);
	if (rc < 0)
		return rc;
	rc = store_lock(duo->store, err);
	if (rc == 0)
		rc = store_sweep(duo->store, err);
	if (rc == 0)
		rc = store_manifest_read(duo->store, "web", &duo->m, err);
	if (rc == -ENOENT)
		return 0;
	if (rc == 0)
		rc = store_clone_settle(duo->store, "web", err);
	return rc;
}

void duo_end(struct duo *duo)
{
	take(duo, NULL);
	drop_loose(duo);
	store_close(duo->store);
	duo->store = NULL;
}

static bool owns(struct delta *delta, uint8_t *ret_value)
{
	static uint8_t block[DELTA_BLOCK_BYTES];
	enum delta_owner owner;

	if (delta_read(delta, block, 1, DUO_BLOCK, false, &owner) != 1 || owner == DELTA_ABSENT)
		return false;
	*ret_value = block[0];
	for (size_t i = 1; i < sizeof(block); i++)
		if (block[i] != block[0])
			*ret_value = 255; /* a mixture */
	return true;
}

int duo_read(struct duo *duo, const struct manifest *m, int i, uint8_t *ret_value,
	struct err *err)
{
	const struct store_disk *disk = &m->disks[i];
	int fd = store_clone_dirfd(duo->store, m->name);
	bool found = false;
	int rc = fd < 0 ? fd : 0;

	*ret_value = 0;
	for (uint32_t k = 0; rc == 0 && !found && k <= disk->n_layers; k++) {
		struct delta *delta;

		rc = k == 0 ? open_log(duo->io, fd, &disk->log, false, &delta, err)
			    : open_log(duo->io, store_layers_dirfd(duo->store),
				      &disk->layers[k - 1].id, true, &delta, err);
		if (rc == 0) {
			found = owns(delta, ret_value);
			delta_abandon(delta);
		}
	}
	if (fd >= 0)
		duo->io->close(duo->io, fd);
	return rc;
}
