/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The change of a clone's manifest that replaces its logs: see freeze.h.
 *
 * The order, and what a power cut after each step leaves:
 *
 *	1 the layers' lock, shared        nothing; no sweep from here to the end
 *	2 new logs made, supers synced    the old manifest, and garbage
 *	3 links in layers/                the old manifest, and garbage
 *	4 fsync of layers/ and of the     the old manifest; what the new one
 *	  clone's directory               will name is durable
 *	5 manifest.tmp written, synced    the old manifest
 *	6 rename over the manifest        the old or the new manifest
 *	7 fsync of the clone's directory  the new manifest: committed
 *	8 old logs' names deleted, newer  the new manifest, and garbage
 *	  checkpoints moved to layers/
 *	9 of a reset: old logs let go     the new manifest, and files without a name
 *
 * 8 only after 7: else a power cut could bring back the manifest that names
 * them. When 7 fails, nobody knows; then nothing of either is deleted, and the
 * lock stays taken for as long as this process lives, so that no sweep
 * believes what it reads.
 */
#include "fs/store/freeze.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/delta.h"
#include "fs/store/directory.h"
#include "fs/store/layers.h"
#include "fs/store/remains.h"
#include "fs/util/cleanup.h"

#define MANIFEST_TEMP DIRECTORY_MANIFEST ".tmp"

enum outcome {
	OUTCOME_OLD,     /* the old manifest counts */
	OUTCOME_NEW,     /* the new one does, durably */
	OUTCOME_UNKNOWN,
};

struct store_change {
	struct store *store; /* the caller's */
	int fd;              /* of the clone's directory */
	int lock_fd;
	enum outcome outcome;
	struct remains *remains; /* the caller's, or NULL */
	uint32_t n_disks;
	struct id *old_log, *new_log; /* per disk; the same: it keeps its delta */
	bool *layered;                /* per disk: the old log becomes a layer */
	uint32_t made;   /* disks whose new log was begun */
	uint32_t linked; /* disks whose links were begun */
	char *name, *text; /* of the clone; of the new manifest */
	size_t text_len;
};

static bool replaced(const struct store_change *change, uint32_t i)
{
	return !id_equal(&change->old_log[i], &change->new_log[i]);
}

static void change_free(struct store_change *change)
{
	const struct io_gate *io = change->store->io;

	if (change->fd >= 0)
		io->close(io, change->fd);
	if (change->outcome != OUTCOME_UNKNOWN)
		layers_unlock(change->store, change->lock_fd);
	free(change->old_log);
	free(change->new_log);
	free(change->layered);
	free(change->name);
	free(change->text);
	free(change);
}

static bool has_layer(const struct store_disk *disk, const struct id *id)
{
	for (uint32_t i = 0; i < disk->n_layers; i++) {
		if (id_equal(&disk->layers[i].id, id))
			return true;
	}
	return false;
}

static int change_new(struct store *store, const struct manifest *now, const struct manifest *next,
	struct store_change **ret_change)
{
	struct store_change *change = calloc(1, sizeof(*change));

	assert(now->n_disks == next->n_disks && id_equal(&now->id, &next->id));
	if (!change)
		return -ENOMEM;
	change->store = store;
	change->fd = change->lock_fd = -1;
	change->n_disks = now->n_disks;
	change->old_log = calloc((size_t)now->n_disks + 1, sizeof(struct id));
	change->new_log = calloc((size_t)now->n_disks + 1, sizeof(struct id));
	change->layered = calloc((size_t)now->n_disks + 1, sizeof(bool));
	change->name = strdup(now->name);
	if (!change->old_log || !change->new_log || !change->layered || !change->name) {
		change_free(change);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < now->n_disks; i++) {
		change->old_log[i] = now->disks[i].log;
		change->new_log[i] = next->disks[i].log;
		change->layered[i] = has_layer(&next->disks[i], &now->disks[i].log);
	}
	*ret_change = change;
	return 0;
}

static int make_logs(struct store_change *change, const struct manifest *next, struct err *err)
{
	for (; change->made < change->n_disks; change->made++) {
		uint32_t i = change->made;
		char log[ID_TEXT];
		int rc;

		if (!replaced(change, i))
			continue;
		id_format(&change->new_log[i], log);
		rc = delta_create(change->store->io, change->fd, log, next->disks[i].size_bytes,
			err);
		if (rc < 0) {
			change->made++;
			return rc;
		}
	}
	return 0;
}

static int link_layers(struct store_change *change, struct err *err)
{
	for (; change->linked < change->n_disks; change->linked++) {
		uint32_t i = change->linked;
		int rc;

		if (!change->layered[i])
			continue;
		rc = layers_link(change->store, change->fd, &change->old_log[i]);
		if (rc == -EEXIST) /* not ours: nothing of it may be deleted */
			return err_set(err, -EUCLEAN, "another file has the name of a layer to be");
		if (rc < 0) {
			change->linked++;
			return err_sys(err, rc, "cannot link a log into %s", DIRECTORY_LAYERS);
		}
	}
	return 0;
}

/* Steps 2 to 4. */
static int prepare(struct store_change *change, const struct manifest *next, struct err *err)
{
	const struct io_gate *io = change->store->io;
	int rc = make_logs(change, next, err);

	if (rc == 0)
		rc = link_layers(change, err);
	if (rc < 0)
		return rc;
	rc = layers_sync(change->store);
	if (rc == 0)
		rc = io->fsync(io, change->fd);
	return rc < 0 ? err_sys(err, rc, "cannot make new logs durable") : 0;
}

static int begin(struct store_change *change, const struct manifest *next, struct err *err)
{
	struct manifest *there = NULL;
	int rc = manifest_format(next, &change->text, &change->text_len);

	if (rc < 0)
		return err_sys(err, rc, "its manifest");
	rc = directory_clone(change->store, next->name, &next->id, &change->fd, &there, err);
	manifest_free(there);
	if (rc < 0)
		return rc;
	change->lock_fd = layers_lock(change->store, false);
	if (change->lock_fd < 0)
		return err_sys(err, change->lock_fd, "%s", DIRECTORY_LAYERS_LOCK);
	return prepare(change, next, err);
}

int store_change_begin(struct store *store, const struct manifest *now,
	const struct manifest *next, struct store_change **ret_change, struct err *err)
{
	struct store_change *change;
	int rc = directory_writable(store, err);

	if (rc < 0)
		return rc;
	rc = change_new(store, now, next, &change);
	if (rc < 0)
		return err_sys(err, rc, "clone %s", now->name);
	rc = begin(change, next, err);
	if (rc < 0) {
		err_prefix(err, "clone %s", now->name);
		store_change_end(change);
		return rc;
	}
	*ret_change = change;
	return 0;
}

int store_change_dirfd(const struct store_change *change)
{
	return change->fd;
}

/* After a rename that is said to have failed: is the new manifest there? */
static bool is_new(const struct store_change *change)
{
	AUTO_FREE char *text = NULL;
	size_t len;

	return io_slurp(change->store->io, change->fd, DIRECTORY_MANIFEST, STORE_MANIFEST_MAX,
		&text, &len) < 0 ||
	       (len == change->text_len && memcmp(text, change->text, len) == 0);
}

/* Steps 5 to 7. */
static int publish(struct store_change *change)
{
	const struct io_gate *io = change->store->io;
	int rc = io_write_file(
		io, change->fd, MANIFEST_TEMP, change->text, change->text_len, 0600);

	if (rc == 0) {
		rc = io->renameat(io, change->fd, MANIFEST_TEMP, change->fd, DIRECTORY_MANIFEST, 0);
		if (rc == 0 || is_new(change))
			change->outcome = OUTCOME_UNKNOWN;
	}
	if (change->outcome == OUTCOME_OLD) {
		io->unlinkat(io, change->fd, MANIFEST_TEMP, 0);
		return rc;
	}
	if (rc == 0)
		rc = io->fsync(io, change->fd);
	if (rc == 0)
		change->outcome = OUTCOME_NEW;
	return rc;
}

int store_change_commit(struct store_change *change, struct err *err)
{
	int rc = publish(change);

	if (rc == 0)
		return 0;
	if (change->outcome == OUTCOME_OLD)
		return err_sys(err, rc, "clone %s: cannot write its manifest", change->name);
	err_sys(err, rc, "clone %s: its manifest was replaced, but maybe not durably",
		change->name);
	return -ENOTRECOVERABLE;
}

static void remove_logs(const struct store_change *change, const struct id *logs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		char log[ID_TEXT];

		if (!replaced(change, i))
			continue;
		id_format(&logs[i], log);
		delta_remove(change->store->io, change->fd, log, change->remains);
	}
}

static void remove_links(const struct store_change *change)
{
	for (uint32_t i = 0; i < change->linked; i++) {
		if (change->layered[i])
			layers_unlink(change->store, &change->old_log[i]);
	}
}

void store_change_end(struct store_change *change)
{
	if (!change)
		return;
	switch (change->outcome) {
	case OUTCOME_OLD:
		remove_logs(change, change->new_log, change->made);
		remove_links(change);
		break;
	case OUTCOME_NEW:
		for (uint32_t i = 0; i < change->n_disks; i++) {
			if (change->layered[i])
				layers_take_checkpoint(
					change->store, change->fd, &change->old_log[i]);
		}
		remove_logs(change, change->old_log, change->n_disks);
		break;
	case OUTCOME_UNKNOWN:
		break;
	}
	change_free(change);
}

int store_reset(struct store *store, const struct manifest *now, const char *to,
	struct remains *remains, struct manifest **ret_next, struct err *err)
{
	struct store_change *change = NULL;
	struct manifest *next = NULL;
	int rc = reset_plan(now, to, &next, err);

	if (rc == 0)
		rc = store_change_begin(store, now, next, &change, err);
	if (rc == 0) {
		change->remains = remains;
		rc = store_change_commit(change, err);
		store_change_end(change);
	}
	if (rc < 0) {
		manifest_free(next);
		return rc;
	}
	/* What cannot be swept now is by the next sweep. */
	if (to)
		store_layers_sweep(store, remains, NULL);
	*ret_next = next;
	return 0;
}

int store_clone_settle(struct store *store, const char *name, struct err *err)
{
	int fd = store_clone_dirfd(store, name);
	int rc;

	if (fd < 0)
		return err_sys(err, fd, "directory of clone %s", name);
	rc = store->io->fsync(store->io, fd);
	store->io->close(store->io, fd);
	return rc < 0 ? err_sys(err, rc, "directory of clone %s", name) : 0;
}
