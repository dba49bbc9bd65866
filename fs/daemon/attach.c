/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Clones on the mount and the bases they hold: see attach.h. */
#include "fs/daemon/attach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "fs/daemon/usage.h"
#include "fs/store/freeze.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

int table_init(struct table *table, struct store *store, struct mount *mount,
	bool force_takeover)
{
	*table = (struct table){.store = store, .mount = mount, .force_takeover = force_takeover};
	pthread_mutex_init(&table->lock, NULL);
	pthread_cond_init(&table->unused, NULL);
	return layer_pool_new(NULL, store_layers_dirfd(store), force_takeover, &table->layers);
}

void table_release(struct table *table)
{
	layer_pool_free(table->layers);
	pthread_cond_destroy(&table->unused);
	pthread_mutex_destroy(&table->lock);
	free(table->clones);
	table->clones = NULL;
}

/* ---- one clone ---- */

static void attached_free(struct attached *clone)
{
	if (!clone)
		return;
	for (uint32_t i = 0; clone->disks && i < clone->manifest->n_disks; i++) {
		base_release(clone->disks[i].base);
		free(clone->disks[i].error);
		free(clone->disks[i].told);
	}
	free(clone->disks);
	space_free(clone->space);
	manifest_free(clone->manifest);
	pthread_mutex_destroy(&clone->verb_lock);
	pthread_mutex_destroy(&clone->change_lock);
	pthread_mutex_destroy(&clone->lock);
	free(clone);
}

/* Takes over manifest. */
static struct attached *attached_new(struct table *table, struct manifest *manifest)
{
	struct attached *clone = calloc(1, sizeof(*clone));

	if (!clone) {
		manifest_free(manifest);
		return NULL;
	}
	pthread_mutex_init(&clone->verb_lock, NULL);
	pthread_mutex_init(&clone->change_lock, NULL);
	pthread_mutex_init(&clone->lock, NULL);
	clone->table = table;
	clone->manifest = manifest;
	clone->disks = calloc(manifest->n_disks ? manifest->n_disks : 1, sizeof(*clone->disks));
	if (!clone->disks) {
		attached_free(clone);
		return NULL;
	}
	for (uint32_t i = 0; i < manifest->n_disks; i++)
		clone->disks[i] = (struct attached_disk){.clone = clone, .index = i};
	if (usage_begin(clone) < 0) {
		attached_free(clone);
		return NULL;
	}
	return clone;
}

/* Remember why a disk cannot be opened (NULL: it can), and log what is new. */
static void set_error(struct attached_disk *disk, const char *why)
{
	struct attached *clone = disk->clone;
	SCOPED_LOCK(&clone->lock);

	if (why && (!disk->error || strcmp(disk->error, why) != 0))
		syslog(LOG_ERR, "clone %s: disk %s: %s", clone->manifest->name,
			clone->manifest->disks[disk->index].target, why);
	free(disk->error);
	disk->error = why ? strdup(why) : NULL;
}

static int hold_base(struct attached_disk *disk, struct base **ret_base, struct err *err)
{
	struct attached *clone = disk->clone;
	const struct store_disk *from = &clone->manifest->disks[disk->index];
	struct base *base = NULL;
	int rc = 0;

	*ret_base = NULL;
	if (!from->base_path)
		return 0;
	pthread_mutex_lock(&clone->lock);
	base = disk->base ? base_ref(disk->base) : NULL;
	pthread_mutex_unlock(&clone->lock);
	if (!base)
		rc = base_hold_known(from->base_path, from->base_identity, &base, err);
	pthread_mutex_lock(&clone->lock);
	disk->base_error = rc;
	if (rc == 0 && !disk->base)
		disk->base = base_ref(base);
	pthread_mutex_unlock(&clone->lock);
	if (rc < 0)
		return rc;
	*ret_base = base;
	return 0;
}

int attach_hold_base(struct attached_disk *disk, struct err *err)
{
	struct base *base;
	int rc = hold_base(disk, &base, err);

	if (rc == 0)
		base_release(base); /* the disk has a hold of its own */
	set_error(disk, rc < 0 ? err->message : NULL);
	return rc;
}

static int hold_bases(struct attached *clone, bool strict, struct err *err)
{
	for (uint32_t i = 0; i < clone->manifest->n_disks; i++) {
		struct err why = {0};
		int rc = attach_hold_base(&clone->disks[i], &why);

		if (rc < 0 && strict) {
			if (err)
				*err = why;
			return rc;
		}
	}
	return 0;
}

static int show(struct attached *clone, struct err *err)
{
	const struct manifest *m = clone->manifest;
	AUTO_FREE struct mount_new_disk *disks = calloc(m->n_disks + 1, sizeof(*disks));
	AUTO_FREE char *names = calloc(m->n_disks + 1,
		STORE_TARGET_MAX + sizeof(STORE_DISK_SUFFIX));
	char *name = names;

	if (!disks || !names)
		return err_sys(err, -ENOMEM, "clone %s", m->name);
	for (uint32_t i = 0; i < m->n_disks; i++) {
		const struct store_disk *from = &m->disks[i];

		disks[i] = (struct mount_new_disk){
			.name = name,
			.number = from->number,
			.attr = {.uid = from->uid, .gid = from->gid, .mode = from->mode,
				.size_bytes = from->size_bytes},
			.ctx = &clone->disks[i],
		};
		name += sprintf(name, "%s%s", from->target, STORE_DISK_SUFFIX) + 1;
	}
	return mount_add(clone->table->mount, m->name, m->node, m->created_sec, disks, m->n_disks,
		&clone->shown, err);
}

/* ---- what the mount asks for ---- */

static int open_delta(struct attached_disk *disk, struct delta **ret_delta, struct err *err)
{
	const struct table *table = disk->clone->table;
	const struct manifest *m = disk->clone->manifest;
	const struct delta_options options = {
		.force_takeover = table->force_takeover,
		.space = disk->clone->space,
	};
	AUTO_CLOSE int dirfd = store_clone_dirfd(table->store, m->name);
	char log[ID_TEXT];

	if (dirfd < 0)
		return err_sys(err, dirfd, "directory of clone %s", m->name);
	id_format(&m->disks[disk->index].log, log);
	return delta_open(dirfd, log, &options, ret_delta, err);
}

/* Nobody knows which manifest is on the medium: the one that is read now is
 * written anew, since a second sync of the first would prove nothing. */
static int decide_manifest(struct attached *clone, struct err *err)
{
	struct store *store = clone->table->store;
	struct manifest *m;
	int rc = store_manifest_read(store, clone->manifest->name, &m, err);

	if (rc < 0)
		return rc;
	if (!id_equal(&m->id, &clone->manifest->id) || m->n_disks != clone->manifest->n_disks)
		rc = err_set(err, -EUCLEAN, "its manifest is another clone's");
	if (rc == 0)
		rc = store_manifest_write(store, m, err);
	if (rc < 0) {
		manifest_free(m);
		return rc;
	}
	attached_take(clone, m);
	atomic_store(&clone->doubtful, false);
	return 0;
}

/* What a killed change left may be a manifest that is not durable yet. */
static int settle(struct attached *clone, struct err *err)
{
	int rc = 0;
	SCOPED_LOCK(&clone->change_lock);

	if (atomic_load(&clone->doubtful))
		rc = decide_manifest(clone, err);
	else if (!clone->settled)
		rc = store_clone_settle(clone->table->store, clone->manifest->name, err);
	if (rc == 0)
		clone->settled = true;
	return rc;
}

static void release_layers(struct layer **layers, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		layer_release(layers[i]);
}

static int hold_layers(struct attached_disk *disk, struct layer **layers, struct err *err)
{
	const struct store_disk *from = &disk->clone->manifest->disks[disk->index];

	for (uint32_t i = 0; i < from->n_layers; i++) {
		int rc = layer_hold(disk->clone->table->layers, &from->layers[i].id,
			from->layers[i].size_bytes, &layers[i], err);

		if (rc < 0) {
			release_layers(layers, i);
			return rc;
		}
	}
	return 0;
}

/* On layers that are held, and stay the caller's if it fails. */
static int open_stack(struct attached_disk *disk, struct layer **layers, struct disk **ret_disk,
	struct err *err)
{
	const struct store_disk *from = &disk->clone->manifest->disks[disk->index];
	struct delta *delta = NULL;
	struct base *base = NULL;
	int rc = hold_base(disk, &base, err);

	if (rc < 0)
		return rc;
	rc = open_delta(disk, &delta, err);
	if (rc == 0 && delta_size(delta) < from->size_bytes)
		rc = err_set(err, -EUCLEAN, "its delta is smaller than its manifest says");
	if (rc == 0)
		rc = disk_open(delta, layers, from->n_layers, base, from->base_limit_bytes,
			ret_disk);
	if (rc < 0) {
		if (delta)
			delta_close(delta);
		base_release(base);
		if (err->code == 0)
			err_sys(err, rc, "opening");
	}
	return rc;
}

static int open_parts(struct attached_disk *disk, struct disk **ret_disk, struct err *err)
{
	struct layer *layers[STORE_LAYERS_MAX];
	int rc = settle(disk->clone, err);

	if (rc == 0)
		rc = hold_layers(disk, layers, err);
	if (rc < 0)
		return rc;
	rc = open_stack(disk, layers, ret_disk, err);
	if (rc < 0)
		release_layers(layers, disk->clone->manifest->disks[disk->index].n_layers);
	return rc;
}

int attach_open_disk(void *ctx, struct disk **ret_disk)
{
	struct attached_disk *disk = ctx;
	struct err err = {0};
	int rc;

	usage_opening(disk);
	rc = open_parts(disk, ret_disk, &err);
	if (rc < 0)
		usage_closed(disk);
	set_error(disk, rc < 0 ? err.message : NULL);
	return rc;
}

int attach_close_disk(void *ctx, struct disk *opened)
{
	struct attached_disk *disk = ctx;
	int rc = disk_close(opened);

	usage_closed(disk);
	return rc;
}

void attach_drop_disk(void *ctx, struct disk *opened)
{
	disk_abandon(opened);
	usage_closed(ctx);
}

struct keeping *attach_keeping(void *ctx)
{
	struct attached_disk *disk = ctx;

	return &disk->keeping;
}

void attach_name(void *ctx, char *name, size_t size)
{
	const struct attached_disk *disk = ctx;
	const struct manifest *m = disk->clone->manifest;

	snprintf(name, size, "clone %s: disk %s", m->name, m->disks[disk->index].target);
}

static void set_attr(struct attached *clone, struct store_disk *disk, uid_t uid, gid_t gid,
	mode_t mode, uint64_t size_bytes)
{
	SCOPED_LOCK(&clone->lock);

	disk->uid = uid;
	disk->gid = gid;
	disk->mode = mode;
	disk->size_bytes = size_bytes;
}

int attach_keep_attr(void *ctx, const struct mount_attr *attr)
{
	struct attached_disk *disk = ctx;
	struct attached *clone = disk->clone;
	struct store_disk *to = &clone->manifest->disks[disk->index];
	struct store_disk before;
	int rc;
	SCOPED_LOCK(&clone->change_lock);

	rc = attached_check(clone, NULL);
	if (rc < 0)
		return rc;
	before = *to;
	/* A size that could not be kept when the disk grew may have been since. */
	set_attr(clone, to, attr->uid, attr->gid, attr->mode,
		max_u64(attr->size_bytes, before.size_bytes));
	rc = store_manifest_write(clone->table->store, clone->manifest, NULL);
	if (rc < 0)
		set_attr(clone, to, before.uid, before.gid, before.mode, before.size_bytes);
	return rc;
}

int attached_check(struct attached *clone, struct err *err)
{
	if (!atomic_load(&clone->doubtful))
		return 0;
	err_set(err, -EIO, "clone %s: a change of its manifest failed, maybe half",
		clone->manifest->name);
	err_hint(err, "shut its machine off: what its disks are is read anew when they are opened "
		"the next time");
	return -EIO;
}

static void swap_texts(char **a, char **b)
{
	char *old = *a;

	*a = *b;
	*b = old;
}

static bool same_stack(const struct store_disk *a, const struct store_disk *b)
{
	if (!id_equal(&a->log, &b->log) || a->size_bytes != b->size_bytes ||
		a->n_layers != b->n_layers)
		return false;
	for (uint32_t i = 0; i < a->n_layers; i++) {
		if (!id_equal(&a->layers[i].id, &b->layers[i].id) ||
			a->layers[i].size_bytes != b->layers[i].size_bytes)
			return false;
	}
	return true;
}

void attached_take(struct attached *clone, struct manifest *next)
{
	struct manifest *m = clone->manifest;
	{
		struct manifest old = *m;
		SCOPED_LOCK(&clone->lock);

		for (uint32_t i = 0; i < m->n_disks; i++) {
			struct store_disk *disk = &m->disks[i], *from = &next->disks[i];
			struct store_layer *layers = disk->layers;

			swap_texts(&disk->base_path, &from->base_path);
			swap_texts(&disk->base_identity, &from->base_identity);

			/* Who opens it just now reads its layers without a lock. */
			if (same_stack(disk, from))
				continue;
			disk->log = from->log;
			disk->size_bytes = from->size_bytes;
			disk->n_layers = from->n_layers;
			disk->layers = from->layers;
			from->layers = layers;
		}
		m->quota_bytes = next->quota_bytes;
		m->n_snapshots = next->n_snapshots;
		m->snapshots = next->snapshots;
		next->n_snapshots = old.n_snapshots;
		next->snapshots = old.snapshots;
	}
	manifest_free(next);
}

/* ---- the table ---- */

/* Index of the first clone whose name is not below name. */
static uint32_t place_of_locked(const struct table *table, const char *name)
{
	uint32_t low = 0, high = table->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (strcmp(table->clones[middle]->manifest->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct attached *find_locked(const struct table *table, const char *name)
{
	uint32_t i = place_of_locked(table, name);

	return i < table->count && strcmp(table->clones[i]->manifest->name, name) == 0
		? table->clones[i] : NULL;
}

static int make_room_locked(struct table *table)
{
	uint32_t size = table->size ? 2 * table->size : 64;
	struct attached **clones;

	if (table->count < table->size)
		return 0;
	clones = reallocarray(table->clones, size, sizeof(struct attached *));
	if (!clones)
		return -ENOMEM;
	table->clones = clones;
	table->size = size;
	return 0;
}

static void remove_locked(struct table *table, const struct attached *clone)
{
	uint32_t i = place_of_locked(table, clone->manifest->name);

	table->count--;
	memmove(&table->clones[i], &table->clones[i + 1],
		(table->count - i) * sizeof(struct attached *));
}

/* 1: that very clone is there already. */
static int insert(struct table *table, struct attached *clone, struct err *err)
{
	const char *name = clone->manifest->name;
	const struct attached *other;
	uint32_t i;
	int rc;
	SCOPED_LOCK(&table->lock);

	other = find_locked(table, name);
	if (other && !other->leaving && id_equal(&other->manifest->id, &clone->manifest->id))
		return 1;
	if (other)
		return err_set(err, -EEXIST, "clone %s: another one of that name is attached",
			name);
	if (make_room_locked(table) < 0)
		return err_sys(err, -ENOMEM, "clone %s", name);
	rc = show(clone, err);
	if (rc < 0)
		return rc;
	i = place_of_locked(table, name);
	memmove(&table->clones[i + 1], &table->clones[i],
		(table->count - i) * sizeof(struct attached *));
	table->clones[i] = clone;
	table->count++;
	return 0;
}

static bool has_its_bases(struct attached *clone)
{
	struct base_info info;
	SCOPED_LOCK(&clone->lock);

	for (uint32_t i = 0; i < clone->manifest->n_disks; i++) {
		if (!clone->manifest->disks[i].base_path)
			continue;
		if (!clone->disks[i].base)
			return false;
		base_info(clone->disks[i].base, &info);
		if (info.state == BASE_CHANGED)
			return false;
	}
	return true;
}

/* That very clone is there, with all it needs: a base that is held goes on
 * being good when its path is not any more. */
static bool is_served(struct table *table, const struct manifest *manifest)
{
	struct attached *clone;
	SCOPED_LOCK(&table->lock);

	clone = find_locked(table, manifest->name);
	return clone && !clone->leaving && id_equal(&clone->manifest->id, &manifest->id) &&
		has_its_bases(clone);
}

int table_attach(struct table *table, const char *name, bool strict, struct err *err)
{
	struct manifest *manifest;
	struct attached *clone;
	int rc;

	if (!store_name_valid(name))
		return err_set(err, -EINVAL, "%s: not a name of a clone", name);
	rc = store_manifest_read(table->store, name, &manifest, err);
	if (rc < 0)
		return rc;
	if (is_served(table, manifest)) {
		manifest_free(manifest);
		return 0;
	}
	clone = attached_new(table, manifest);
	if (!clone)
		return err_sys(err, -ENOMEM, "clone %s", name);
	rc = hold_bases(clone, strict, err);
	if (rc == 0)
		rc = insert(table, clone, err);
	if (rc != 0)
		attached_free(clone);
	return rc < 0 ? rc : 0;
}

int table_attach_all(struct table *table, struct err *err)
{
	char **names;
	uint32_t count;
	int rc = store_list(table->store, &names, &count, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < count; i++) {
		struct err why = {0};

		if (table_attach(table, names[i], false, &why) < 0)
			syslog(LOG_ERR, "clone %s: %s", names[i], why.message);
	}
	store_names_free(names, count);
	return 0;
}

/* Mark it as leaving, so that nobody else looks at it, and wait for those who do. */
static int claim(struct table *table, const char *name, const struct id *id,
	struct attached **ret_clone, struct err *err)
{
	struct attached *clone;
	SCOPED_LOCK(&table->lock);

	clone = find_locked(table, name);
	if (!clone || (id && !id_equal(&clone->manifest->id, id)))
		return err_set(err, -ENOENT, "clone %s: not attached", name);
	if (clone->leaving)
		return err_set(err, -EBUSY, "clone %s: it is being detached already", name);
	clone->leaving = true;
	while (clone->users > 0)
		pthread_cond_wait(&table->unused, &table->lock);
	*ret_clone = clone;
	return 0;
}

int attached_get(struct table *table, const char *name, struct attached **ret_clone,
	struct err *err)
{
	struct attached *clone;
	SCOPED_LOCK(&table->lock);

	clone = find_locked(table, name);
	if (!clone || clone->leaving)
		return err_set(err, -ENOENT, "clone %s: not attached", name);
	clone->users++;
	*ret_clone = clone;
	return 0;
}

void attached_put(struct attached *clone)
{
	struct table *table = clone->table;
	SCOPED_LOCK(&table->lock);

	if (--clone->users == 0)
		pthread_cond_broadcast(&table->unused);
}

int table_detach(struct table *table, const char *name, const struct id *id, struct err *err)
{
	struct attached *clone = NULL;
	int rc = claim(table, name, id, &clone, err);

	if (rc < 0)
		return rc;
	rc = mount_remove(table->mount, clone->shown, err);
	{
		SCOPED_LOCK(&table->lock);

		if (rc == 0)
			remove_locked(table, clone);
		else
			clone->leaving = false;
	}
	if (rc == 0)
		attached_free(clone);
	return rc;
}

void table_detach_all(struct table *table)
{
	for (uint32_t i = 0; i < table->count; i++) {
		mount_remove(table->mount, table->clones[i]->shown, NULL);
		attached_free(table->clones[i]);
	}
	table->count = 0;
}
