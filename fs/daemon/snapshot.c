/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot of a clone in use: all its disks frozen at one instant.
 *
 * What may be lost at which crash point is said in fs/store/freeze.h. In short,
 * and as seen by a guest: from the moment that all disks are stopped until the
 * manifest is replaced none of them changes, so the layers are one instant of
 * all; before the manifest is durable no write is acknowledged that lies in a
 * new delta. Killed or cut anywhere, the clone is as it was or has the snapshot,
 * with all that was flushed either way (tests/crash/store-powercut.c).
 *
 * Writes wait for it: for the changes under way (STOP_MS at most), one flush of
 * what the flush before left, and a few syncs of directories.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "fs/daemon/changes.h"
#include "fs/disk/disk.h"
#include "fs/store/freeze.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"

/* A change that waits for a base in trouble may take longer; then there is no
 * snapshot, as guests' writes wait meanwhile. */
#define STOP_MS 5000

struct part {
	struct disk *disk; /* in use; NULL: not yet */
	bool stopped;
	bool written; /* it becomes a layer */
	struct delta *fresh;
	struct layer *layer;
	struct layer *frozen; /* the disk's: it was written */
};

struct snapshot {
	struct attached *clone;
	uint32_t n_parts;
	struct part *parts;
	uint64_t *size_bytes; /* of each part that is written, else 0 */
	struct manifest *next;
	struct store_change *change;
};

static const char *target_of(const struct snapshot *s, uint32_t i)
{
	return s->clone->manifest->disks[i].target;
}

static int err_disk(const struct snapshot *s, uint32_t i, int code, const char *what,
	struct err *err)
{
	return err_sys(err, code, "clone %s: disk %s: %s", s->clone->manifest->name,
		target_of(s, i), what);
}

static int use_disks(struct snapshot *s, struct err *err)
{
	for (uint32_t i = 0; i < s->n_parts; i++) {
		int rc = mount_use_disk(s->clone->table->mount, s->clone->shown, i,
			&s->parts[i].disk);

		if (rc < 0)
			return err_disk(s, i, rc, "cannot be opened (the status says why)", err);
		/* So that little is left for when writes wait. What fails here
		 * fails again there. */
		disk_flush(s->parts[i].disk);
	}
	return 0;
}

static int stop_disks(struct snapshot *s, struct err *err)
{
	int64_t until = clock_now_ms() + STOP_MS;

	for (uint32_t i = 0; i < s->n_parts; i++) {
		int64_t left = until - clock_now_ms();
		int rc = disk_stop(s->parts[i].disk, left > 0 ? (unsigned int)left : 0);

		if (rc < 0)
			return err_disk(s, i, rc, "a write does not come to its end", err);
		s->parts[i].stopped = true;
	}
	return 0;
}

static int flush_disks(struct snapshot *s, struct err *err)
{
	for (uint32_t i = 0; i < s->n_parts; i++) {
		struct part *part = &s->parts[i];
		int rc = disk_flush(part->disk);

		if (rc < 0)
			return err_disk(s, i, rc, "flush", err);
		part->written = !disk_delta_empty(part->disk);
		s->size_bytes[i] = part->written ? disk_size(part->disk) : 0;
	}
	return 0;
}

static int prepare_disk(struct snapshot *s, uint32_t i, struct err *err)
{
	struct table *table = s->clone->table;
	struct part *part = &s->parts[i];
	const struct delta_options options = {
		.force_takeover = table->force_takeover,
		.space = s->clone->space,
	};
	char log[ID_TEXT];
	int rc = layer_expect(table->layers, &s->clone->manifest->disks[i].log, &part->layer);

	if (rc < 0)
		return err_disk(s, i, rc, "layer", err);
	id_format(&s->next->disks[i].log, log);
	rc = delta_open(store_change_dirfd(s->change), log, &options, &part->fresh, err);
	if (rc < 0) {
		err_prefix(err, "clone %s: disk %s", s->clone->manifest->name, target_of(s, i));
		return rc;
	}
	rc = disk_prepare(part->disk, part->fresh, part->layer);
	return rc < 0 ? err_disk(s, i, rc, "new delta", err) : 0;
}

/* All that can fail but the manifest itself. */
static int prepare(struct snapshot *s, const char *name, struct err *err)
{
	int rc = freeze_plan(s->clone->manifest, s->size_bytes, name, &s->next, err);

	if (rc == 0)
		rc = store_change_begin(s->clone->table->store, s->clone->manifest, s->next,
			&s->change, err);
	for (uint32_t i = 0; rc == 0 && i < s->n_parts; i++) {
		if (s->parts[i].written)
			rc = prepare_disk(s, i, err);
	}
	return rc;
}

static void swap_disks(struct snapshot *s)
{
	for (uint32_t i = 0; i < s->n_parts; i++) {
		struct part *part = &s->parts[i];

		if (!part->written)
			continue;
		disk_freeze(part->disk); /* takes over both */
		part->fresh = NULL;
		part->frozen = part->layer;
		part->layer = NULL;
	}
	attached_take(s->clone, s->next);
	s->next = NULL;
}

static int commit(struct snapshot *s, struct err *err)
{
	int rc = store_change_commit(s->change, err);

	if (rc == 0) {
		swap_disks(s);
	} else if (rc == -ENOTRECOVERABLE) {
		atomic_store(&s->clone->doubtful, true);
		for (uint32_t i = 0; i < s->n_parts; i++)
			disk_fail(s->parts[i].disk);
		syslog(LOG_CRIT, "clone %s: %s: its disks are not served until they are opened "
			"anew", s->clone->manifest->name, err ? err->message : "snapshot failed");
	}
	return rc;
}

static bool anything_to_do(const struct snapshot *s, const char *name)
{
	for (uint32_t i = 0; i < s->n_parts; i++) {
		if (s->parts[i].written)
			return true;
	}
	return name;
}

/* For who has change_lock, on disks that are in use. */
static int freeze_locked(struct snapshot *s, const char *name, struct err *err)
{
	int rc = attached_check(s->clone, err);

	if (rc == 0)
		rc = stop_disks(s, err);
	if (rc == 0)
		rc = flush_disks(s, err);
	if (rc == 0 && anything_to_do(s, name)) {
		rc = prepare(s, name, err);
		if (rc == 0)
			rc = commit(s, err);
	}
	for (uint32_t i = 0; i < s->n_parts; i++) {
		if (s->parts[i].stopped)
			disk_go_on(s->parts[i].disk);
	}
	return rc;
}

/* Guests write already. A layer that cannot be marked now is when it is opened. */
static void mark_layers(struct snapshot *s)
{
	for (uint32_t i = 0; i < s->n_parts; i++) {
		int rc = s->parts[i].frozen ? layer_freeze(s->parts[i].frozen) : 0;

		if (rc < 0)
			syslog(LOG_WARNING, "clone %s: disk %s: freezing its layer: %s",
				s->clone->manifest->name, target_of(s, i), strerror(-rc));
	}
}

/* What was not taken over. */
static void release(struct snapshot *s)
{
	for (uint32_t i = 0; s->parts && i < s->n_parts; i++) {
		struct part *part = &s->parts[i];

		layer_release(part->layer);
		delta_close(part->fresh);
		if (part->disk)
			mount_unuse_disk(s->clone->shown, i);
	}
	store_change_end(s->change);
	manifest_free(s->next);
	free(s->parts);
	free(s->size_bytes);
}

static int snapshot(struct attached *clone, const char *name, struct err *err)
{
	struct snapshot s = {.clone = clone, .n_parts = clone->manifest->n_disks};
	int rc;

	s.parts = calloc((size_t)s.n_parts + 1, sizeof(*s.parts));
	s.size_bytes = calloc((size_t)s.n_parts + 1, sizeof(*s.size_bytes));
	rc = s.parts && s.size_bytes ? use_disks(&s, err)
				     : err_sys(err, -ENOMEM, "clone %s", clone->manifest->name);
	if (rc == 0) {
		SCOPED_LOCK(&clone->change_lock);

		rc = freeze_locked(&s, name, err);
		mark_layers(&s);
		release(&s);
	} else {
		release(&s);
	}
	return rc;
}

int table_snapshot(struct table *table, const char *name, const char *snapshot_name,
	struct err *err)
{
	struct attached *clone;
	int rc = attached_get(table, name, &clone, err);

	if (rc < 0)
		return rc;
	{
		SCOPED_LOCK(&clone->verb_lock);

		rc = snapshot(clone, snapshot_name, err);
	}
	attached_put(clone);
	return rc;
}
