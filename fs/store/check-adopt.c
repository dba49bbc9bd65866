/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Putting what repair made into the store, and what it replaces into lost+found.
 *
 * The order, and what a power cut after each step leaves:
 *
 *	1 the damaged log's names in lost+found, durable   the damaged store, two names
 *	2 the manifest names the new log, durable          the repaired store
 *	3 the old names in the store are removed           what 2 left is a stray
 *
 * The new log is whole and durable before 1. For a layer 2 is one manifest after
 * the other; each is right in itself, and the next check finds those that
 * still name the damaged one. When 2 fails nobody knows which manifest is on the medium, so
 * both logs stay; one of them is a stray.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/check-store.h"
#include "fs/store/checkpoint.h"
#include "fs/store/delta.h"
#include "fs/store/layers.h"
#include "fs/store/lostfound.h"
#include "fs/util/cleanup.h"

int check_put_manifest(struct checking_store *s, uint32_t nth, struct manifest *next,
	struct err *err)
{
	int rc = store_manifest_write(s->store, next, err);

	if (rc < 0) {
		manifest_free(next);
		return rc;
	}
	manifest_free(s->manifests[nth]);
	s->manifests[nth] = next;
	return 0;
}

/* Step 1. */
static int keep_damaged(struct checking_store *s, const char *what, int dirfd, const struct id *id,
	struct err *err)
{
	struct lostfound place;
	int rc = lostfound_open(s->store, what, &place, err);

	if (rc == 0)
		rc = lostfound_link_log(&place, dirfd, id, err);
	if (rc == 0 && s->check->note) {
		char text[NAME_MAX + 64];

		snprintf(text, sizeof(text), "the damaged log is in %s/%s", LOSTFOUND_DIR,
			place.name);
		s->check->note(s->check->ctx, what, text);
	}
	lostfound_close(&place);
	return rc;
}

static int remove_log(const struct io_gate *io, int dirfd, const struct id *id)
{
	char name[ID_TEXT];
	int rc;

	id_format(id, name);
	rc = checkpoint_remove(io, dirfd, name);
	return rc < 0 ? rc : delta_remove(io, dirfd, name, NULL);
}

/* Nothing names it: what cannot be removed is a stray. Returns rc. */
static int drop_new(const struct io_gate *io, int dirfd, const struct id *new_log, int rc)
{
	remove_log(io, dirfd, new_log);
	return rc;
}

int check_adopt_delta(void *ctx, const struct id *new_log, struct err *err)
{
	struct cloning *c = ctx;
	const struct manifest *now = c->s->manifests[c->manifest];
	struct id old = now->disks[c->disk].log;
	struct manifest *next;
	int rc = keep_damaged(c->s, now->name, c->dirfd, &old, err);

	if (rc == 0)
		rc = manifest_copy(now, &next);
	if (rc < 0)
		return drop_new(c->s->io, c->dirfd, new_log, rc);
	next->disks[c->disk].log = *new_log;
	rc = check_put_manifest(c->s, c->manifest, next, err);
	return rc < 0 ? rc : remove_log(c->s->io, c->dirfd, &old);
}

/* ---- layers ---- */

static bool replace_layer(struct manifest *m, const struct id *old, const struct id *new_id)
{
	bool found = false;

	for (uint32_t i = 0; i < m->n_disks; i++)
		for (uint32_t k = 0; k < m->disks[i].n_layers; k++)
			if (id_equal(&m->disks[i].layers[k].id, old)) {
				m->disks[i].layers[k].id = *new_id;
				found = true;
			}
	for (uint32_t i = 0; i < m->n_snapshots; i++)
		for (uint32_t k = 0; k < m->n_disks; k++)
			if (id_equal(&m->snapshots[i].tops[k], old))
				m->snapshots[i].tops[k] = *new_id;
	return found;
}

static int replace_in(struct checking_store *s, uint32_t nth, const struct id *old,
	const struct id *new_id, struct err *err)
{
	struct manifest *next;
	int rc = manifest_copy(s->manifests[nth], &next);

	if (rc < 0)
		return rc;
	if (!replace_layer(next, old, new_id)) {
		manifest_free(next);
		return 0;
	}
	rc = check_put_manifest(s, nth, next, err);
	if (rc != -ENOENT)
		return rc;
	*err = (struct err){0}; /* a clone that was removed needs nothing */
	return 0;
}

static bool is_known(const struct checking_store *s, const struct manifest *m)
{
	for (uint32_t i = 0; i < s->n_manifests; i++)
		if (id_equal(&s->manifests[i]->id, &m->id))
			return true;
	return false;
}

static int refuse_stage(void *ctx, int fd, const char *name)
{
	return -EBUSY;
}

/* One that was not there when the check began may name any layer. */
static int refuse_new_clone(void *ctx, int fd, const char *name)
{
	const struct checking_store *s = ctx;
	struct manifest *m = NULL;
	int rc = store_name_valid(name) ? store_manifest_read(s->store, name, &m, NULL) : -ENOENT;

	if (rc == 0 && !is_known(s, m))
		rc = -EBUSY;
	manifest_free(m);
	return rc == -ENOENT ? 0 : rc; /* removed meanwhile, or nothing of ours */
}

/* Nobody can name the layer but the manifests that were read: the stages first,
 * so that one on its way to clones/ is seen. */
static int refuse_unknown_users(struct checking_store *s, struct err *err)
{
	const struct io_gate *io = s->io;
	int rc = directory_each(io, s->store->staging_fd, ".", refuse_stage, NULL);

	if (rc == 0)
		rc = directory_each(io, s->store->clones_fd, ".", refuse_new_clone, s);
	if (rc == -EBUSY)
		return err_set(err, rc,
			"a clone that may need it is being made, or was made since the check began");
	if (rc == -EUCLEAN || s->unreadable)
		return err_set(err, -EUCLEAN, "a manifest that may name it cannot be read");
	return rc < 0 ? err_sys(err, rc, "cannot tell who needs it") : 0;
}

static int adopt_layer_locked(struct layering *l, const struct id *new_log, struct err *err)
{
	struct checking_store *s = l->s;
	int rc = refuse_unknown_users(s, err);

	if (rc == 0)
		rc = keep_damaged(s, "layer", s->store->layers_fd, &l->id, err);
	if (rc < 0)
		return drop_new(s->io, s->store->layers_fd, new_log, rc);
	for (uint32_t i = 0; rc == 0 && i < s->n_manifests; i++)
		rc = replace_in(s, i, &l->id, new_log, err);
	return rc < 0 ? rc : remove_log(s->io, s->store->layers_fd, &l->id);
}

/* Clones may be made while the new log is written, which takes long; not while it
 * takes the old one's place. */
int check_adopt_layer(void *ctx, const struct id *new_log, struct err *err)
{
	struct layering *l = ctx;
	struct checking_store *s = l->s;
	int rc = layers_lock_alone(s->lock_fd);

	if (rc < 0) {
		err_set(err, rc, "clones are being made or removed, and it may be theirs");
		return drop_new(s->io, s->store->layers_fd, new_log, rc);
	}
	rc = adopt_layer_locked(l, new_log, err);
	layers_lock_share(s->lock_fd);
	return rc;
}

/* ---- what nobody needs ---- */

static int see_file(void *ctx, int fd, const char *name)
{
	struct check_unused *unused = ctx;
	const struct io_gate *io = unused->s->io;
	struct id id;
	int rc = 0;

	if (!layers_file_id(name, &id) || idset_has(&unused->needed, &id))
		return 0;
	unused->n++;
	if (unused->to >= 0)
		rc = io->linkat(io, fd, name, unused->to, name);
	return rc == -EEXIST ? 0 : rc;
}

static int list_needed(struct check_unused *unused)
{
	const struct checking_store *s = unused->s;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->n_manifests; i++)
		rc = layers_add_needed(s->manifests[i], &unused->needed);
	idset_sort(&unused->needed);
	return rc;
}

int check_find_unused(struct check_unused *unused)
{
	const struct checking_store *s = unused->s;
	int rc = directory_each(s->io, s->store->staging_fd, ".", refuse_stage, NULL);

	/* A stage names layers too: nobody can say. One name too many does no harm. */
	if (rc == -EBUSY && unused->to >= 0)
		rc = 0;
	if (rc == 0)
		rc = list_needed(unused);
	if (rc == 0)
		rc = directory_each(s->io, s->store->layers_fd, ".", see_file, unused);
	idset_release(&unused->needed);
	return rc;
}

int check_move_clone(struct checking_store *s, const char *name, struct err *err)
{
	struct check_unused unused = {.s = s};
	struct lostfound place;
	int rc = lostfound_open(s->store, name, &place, err);

	if (rc < 0)
		return rc;
	unused.to = store_clone_dirfd(s->store, name);
	rc = unused.to < 0 ? unused.to : check_find_unused(&unused);
	if (rc == 0)
		rc = s->io->fsync(s->io, unused.to);
	if (unused.to >= 0)
		s->io->close(s->io, unused.to);
	if (rc == 0)
		rc = lostfound_move(&place, s->store->clones_fd, name, err);
	lostfound_close(&place);
	return rc;
}
