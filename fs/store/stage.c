/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A clone being made, from its first file to its place in clones/.
 *
 * The order, and what a power cut after each step leaves:
 *
 *	1 mkdir staging/ID                    an empty stage: the journal's to sweep
 *	2 each delta's super, synced          a stage
 *	3 the manifest, synced                a stage; from now on no sweep
 *	  (under the layers' lock)            deletes the layers and copies it names
 *	4 (the tool's files, synced by it)    a stage
 *	5 fsync of staging/ID                 a stage; whole if it is found in clones/
 *	6 rename to clones/NAME, no replace   a stage or a whole clone
 *	7 fsync of clones/                    a whole clone: acknowledged
 *
 * 5 before 6 is what makes "in clones/ means whole" true on file systems that
 * may keep the rename and lose the entries made before it. The entry of
 * staging/ID itself need not be durable. When 7 fails nobody knows which of
 * the two a power cut would leave, so the clone is retired like a removed one.
 */
#include "fs/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/store/copies.h"
#include "fs/store/delta.h"
#include "fs/store/directory.h"
#include "fs/store/layers.h"
#include "fs/store/manifest.h"
#include "fs/util/cleanup.h"

struct store_stage {
	struct store *store; /* the caller's */
	char *clone;         /* its name to be */
	struct id id;
	char name[ID_TEXT]; /* in staging/ */
	int fd;
};

static void stage_free(struct store_stage *stage)
{
	if (stage->fd >= 0)
		stage->store->io->close(stage->store->io, stage->fd);
	free(stage->clone);
	free(stage);
}

/* Is there something called like that? A read-only look, so not by the gate. */
static bool name_taken(const struct store *store, const char *name)
{
	struct stat st;

	return fstatat(store->clones_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int err_taken(const struct store_stage *stage, struct err *err)
{
	return err_set(err, -EEXIST, "clone %s: the store %s has one of that name", stage->clone,
		stage->store->path);
}

static int make_directory(struct store_stage *stage)
{
	const struct io_gate *io = stage->store->io;
	int rc = io->mkdirat(io, stage->store->staging_fd, stage->name, 0700);

	if (rc < 0)
		return rc;
	stage->fd = io->openat(io, stage->store->staging_fd, stage->name,
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return stage->fd < 0 ? stage->fd : 0;
}

static int make_deltas(struct store_stage *stage, const struct manifest *m, struct err *err)
{
	for (uint32_t i = 0; i < m->n_disks; i++) {
		char log[ID_TEXT];
		int rc;

		id_format(&m->disks[i].log, log);
		rc = delta_create(stage->store->io, stage->fd, log, m->disks[i].size_bytes, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int write_manifest(struct store_stage *stage, const struct manifest *m, struct err *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int rc = manifest_format(m, &text, &len);

	if (rc == 0)
		rc = io_write_file(
			stage->store->io, stage->fd, DIRECTORY_MANIFEST, text, len, 0600);
	return rc < 0 ? err_sys(err, rc, "clone %s: cannot write its manifest", m->name) : 0;
}

/* A sweep of layers either sees the manifest or ran before we look for the
 * layers that it names. */
static int make_manifest(struct store_stage *stage, const struct manifest *m, struct err *err)
{
	int lock_fd = layers_lock(stage->store, false);
	int rc = lock_fd < 0
		? err_sys(err, lock_fd, "clone %s: %s", m->name, DIRECTORY_LAYERS_LOCK)
		: write_manifest(stage, m, err);

	if (rc == 0)
		rc = layers_check(stage->store, m, err);
	if (rc == 0)
		rc = copies_check(stage->store, m, err);
	layers_unlock(stage->store, lock_fd);
	return rc;
}

static int fill_stage(struct store_stage *stage, const struct manifest *m, struct err *err)
{
	int rc = make_directory(stage);

	if (rc < 0)
		return err_sys(err, rc, "clone %s: cannot stage it", m->name);
	rc = make_deltas(stage, m, err);
	if (rc < 0) {
		err_prefix(err, "clone %s", m->name);
		return rc;
	}
	return make_manifest(stage, m, err);
}

int store_stage(struct store *store, const struct manifest *m, struct store_stage **ret_stage,
	struct err *err)
{
	struct store_stage *stage;
	int rc = directory_writable(store, err);

	if (rc == 0)
		rc = manifest_check(m, -EINVAL, err);
	if (rc < 0)
		return rc;
	stage = calloc(1, sizeof(*stage));
	if (!stage)
		return err_sys(err, -ENOMEM, "clone %s", m->name);
	stage->store = store;
	stage->fd = -1;
	stage->id = m->id;
	id_format(&m->id, stage->name);
	stage->clone = strdup(m->name);
	if (!stage->clone)
		rc = err_sys(err, -ENOMEM, "clone %s", m->name);
	else if (name_taken(store, m->name))
		rc = err_taken(stage, err);
	else
		rc = fill_stage(stage, m, err);
	if (rc < 0) {
		store_stage_abort(stage);
		return rc;
	}
	*ret_stage = stage;
	return 0;
}

int store_stage_dirfd(const struct store_stage *stage)
{
	return stage->fd;
}

const char *store_stage_name(const struct store_stage *stage)
{
	return stage->name;
}

int store_commit(struct store_stage *stage, struct err *err)
{
	struct store *store = stage->store;
	const struct io_gate *io = store->io;
	int rc = io->fsync(io, stage->fd);

	if (rc == 0)
		rc = directory_move(
			io, store->staging_fd, stage->name, store->clones_fd, stage->clone);
	if (rc < 0) {
		if (rc == -EEXIST)
			err_taken(stage, err);
		else
			err_sys(err, rc, "clone %s: cannot commit it", stage->clone);
		store_stage_abort(stage);
		return rc;
	}
	rc = io->fsync(io, store->clones_fd);
	if (rc < 0) {
		directory_retire(store, stage->fd, stage->clone, &stage->id, NULL);
		err_sys(err, rc, "clone %s: cannot make it durable", stage->clone);
	}
	stage_free(stage);
	return rc;
}

void store_stage_abort(struct store_stage *stage)
{
	/* What cannot be deleted is found by whoever sweeps stages by name. Only
	 * a directory that we made: a stage of that name may be another's. */
	if (stage->fd >= 0)
		directory_delete(stage->store->io, stage->store->staging_fd, stage->name);
	stage_free(stage);
}

int store_stage_sweep(struct store *store, const char *stage_name, struct err *err)
{
	struct id id;
	int rc = directory_writable(store, err);

	if (rc < 0)
		return rc;
	if (id_parse(stage_name, &id) < 0)
		return err_set(err, -EINVAL, "stage %s: no stage's name", stage_name);
	rc = directory_delete(store->io, store->staging_fd, stage_name);
	return rc < 0 ? err_sys(err, rc, "stage %s: cannot delete it", stage_name) : 0;
}
