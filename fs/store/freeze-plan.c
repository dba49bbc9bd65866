/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The manifest after a freeze or a reset: see freeze.h. */
#include "fs/store/freeze.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/util/cleanup.h"
#include "fs/util/round.h"

#define NAMED_MAX 8 /* snapshots that a message names */

static int copy_of(const struct manifest *now, struct manifest **ret_next, struct err *err)
{
	int rc = manifest_copy(now, ret_next);

	return rc < 0 ? err_sys(err, rc, "clone %s", now->name) : 0;
}

/* ---- freeze ---- */

static int push_layer(const struct manifest *m, struct store_disk *disk, uint64_t size_bytes,
	struct err *err)
{
	struct store_layer *layers;

	if (disk->n_layers >= STORE_LAYERS_MAX) {
		err_set(err, -EMLINK, "clone %s: disk %s has %u layers already", m->name,
			disk->target, disk->n_layers);
		err_hint(err, "hydrate a clone of it, and go on from there");
		return -EMLINK;
	}
	layers = reallocarray(disk->layers, disk->n_layers + 1, sizeof(*layers));
	if (!layers)
		return err_sys(err, -ENOMEM, "clone %s", m->name);
	memmove(layers + 1, layers, disk->n_layers * sizeof(*layers));
	layers[0] = (struct store_layer){.id = disk->log, .size_bytes = size_bytes};
	disk->layers = layers;
	disk->n_layers++;
	/* A disk grows before its manifest says so. */
	disk->size_bytes = max_u64(disk->size_bytes, size_bytes);
	disk->log = id_new();
	return 0;
}

static int check_name(const struct manifest *m, const char *name, struct err *err)
{
	if (!store_name_valid(name))
		return err_set(err, -EINVAL, "clone %s: \"%s\" is no name for a snapshot", m->name,
			name);
	if (manifest_snapshot(m, name))
		return err_set(err, -EEXIST, "clone %s: it has a snapshot %s", m->name, name);
	if (m->n_snapshots >= STORE_SNAPSHOTS_MAX)
		return err_set(err, -EMLINK, "clone %s: it has %u snapshots already", m->name,
			m->n_snapshots);
	return 0;
}

/* Of what m says now. */
static int add_snapshot(struct manifest *m, const char *name, struct err *err)
{
	struct store_snapshot *snapshots =
		reallocarray(m->snapshots, m->n_snapshots + 1, sizeof(*snapshots));
	struct store_snapshot *snapshot;

	if (!snapshots)
		return err_sys(err, -ENOMEM, "clone %s", m->name);
	m->snapshots = snapshots;
	snapshot = &snapshots[m->n_snapshots];
	snapshot->created_sec = time(NULL);
	snapshot->name = strdup(name);
	snapshot->tops = calloc((size_t)m->n_disks + 1, sizeof(*snapshot->tops));
	m->n_snapshots++;
	if (!snapshot->name || !snapshot->tops)
		return err_sys(err, -ENOMEM, "clone %s", m->name);
	for (uint32_t i = 0; i < m->n_disks; i++) {
		if (m->disks[i].n_layers > 0)
			snapshot->tops[i] = m->disks[i].layers[0].id;
	}
	return 0;
}

int freeze_plan(const struct manifest *now, const uint64_t *size_bytes, const char *snapshot,
	struct manifest **ret_next, struct err *err)
{
	struct manifest *next = NULL;
	int rc = snapshot ? check_name(now, snapshot, err) : 0;

	if (rc == 0)
		rc = copy_of(now, &next, err);
	for (uint32_t i = 0; rc == 0 && i < next->n_disks; i++) {
		if (size_bytes[i] > 0)
			rc = push_layer(next, &next->disks[i], size_bytes[i], err);
	}
	if (rc == 0 && snapshot)
		rc = add_snapshot(next, snapshot, err);
	if (rc < 0)
		manifest_free(next);
	else
		*ret_next = next;
	return rc;
}

/* ---- reset ---- */

/* How many of the newest layers of disk go. */
static uint32_t dropped(const struct manifest *m, const struct store_disk *disk, const char *to)
{
	if (!to)
		return 0;
	if (!to[0])
		return disk->n_layers;
	return manifest_snapshot_top(m, manifest_snapshot(m, to), disk);
}

static bool loses(const struct manifest *m, const struct store_snapshot *snapshot, const char *to)
{
	for (uint32_t i = 0; i < m->n_disks; i++) {
		if (manifest_snapshot_top(m, snapshot, &m->disks[i]) <
			dropped(m, &m->disks[i], to))
			return true;
	}
	return false;
}

/* Nobody asked for the end of the snapshots that lie above. */
static int check_losses(const struct manifest *m, const char *to, struct err *err)
{
	char names[NAMED_MAX * (STORE_NAME_MAX + 2) + 8] = "";
	const char *first = NULL;
	unsigned int count = 0;
	size_t len = 0;

	for (uint32_t i = 0; i < m->n_snapshots; i++) {
		if (!loses(m, &m->snapshots[i], to))
			continue;
		if (count < NAMED_MAX)
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
				count ? ", " : "", m->snapshots[i].name);
		else if (count == NAMED_MAX)
			snprintf(names + len, sizeof(names) - len, ", ...");
		first = first ? first : m->snapshots[i].name;
		count++;
	}
	if (count == 0)
		return 0;
	err_set(err, -EEXIST, "clone %s: %u snapshot%s made since would be lost: %s", m->name,
		count, count == 1 ? "" : "s", names);
	err_hint(err, "lazyclone snapshot %s --delete %s", m->name, first);
	return -EEXIST;
}

static void drop_layers(const struct manifest *now, struct manifest *next, const char *to)
{
	for (uint32_t i = 0; i < now->n_disks; i++) {
		struct store_disk *disk = &next->disks[i];
		uint32_t n = dropped(now, &now->disks[i], to);

		disk->n_layers -= n;
		memmove(disk->layers, disk->layers + n, disk->n_layers * sizeof(*disk->layers));
		disk->log = id_new();
	}
}

int reset_plan(const struct manifest *now, const char *to, struct manifest **ret_next,
	struct err *err)
{
	struct manifest *next;
	int rc;

	if (to && to[0] && !manifest_snapshot(now, to))
		return err_set(err, -ENOENT, "clone %s: it has no snapshot %s", now->name, to);
	rc = check_losses(now, to, err);
	if (rc == 0)
		rc = copy_of(now, &next, err);
	if (rc < 0)
		return rc;
	drop_layers(now, next, to);
	*ret_next = next;
	return 0;
}
