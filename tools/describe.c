/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store as one JSON document: see describe.h. */
#include "tools/describe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/store/checkpoint.h"
#include "fs/store/look.h"
#include "fs/store/scan.h"
#include "fs/store/slot.h"
#include "fs/util/cleanup.h"

#define NAME_TEXT (ID_TEXT + 8)

struct describing {
	struct store *store;
	int layers_fd;
	bool served;
	json_t *document, *clones, *layers;
};

static int set(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) < 0 ? -ENOMEM : 0;
}

static int set_number(json_t *object, const char *key, uint64_t value)
{
	return set(object, key, json_integer((json_int_t)value));
}

/* Messages may quote bytes of a file that are no text. */
static json_t *text_or_null(const char *text)
{
	json_t *string = text ? json_string(text) : json_null();

	return string ? string : json_string("(not text)");
}

static json_t *id_text(const struct id *id)
{
	char text[ID_TEXT];

	id_format(id, text);
	return json_string(text);
}

/* ---- one delta ---- */

static void add_slots(json_t *object, const struct scan *scan)
{
	uint64_t used = 0, free_bytes = 0;
	struct stat st;

	for (uint32_t slot = 0; slot < scan->n_slots; slot++) {
		if (scan->slots[slot].kind == SCAN_SEGMENT)
			used += slot_bytes(slot);
		else if (scan->slots[slot].kind == SCAN_FREE)
			free_bytes += slot_bytes(slot);
	}
	set_number(object, "used_bytes", used);
	set_number(object, "free_bytes", free_bytes);
	if (scan->log_fd >= 0 && fstat(scan->log_fd, &st) == 0)
		set_number(object, "log_bytes", (uint64_t)st.st_blocks * 512);
}

static void add_super(json_t *object, const struct super *super)
{
	static const struct id nobody;

	set_number(object, "size_bytes", super->size_bytes);
	set(object, "host", id_equal(&super->host, &nobody) ? json_null() : id_text(&super->host));
	set(object, "state",
		json_string(super->layer ? "layer" : super->clean ? "clean" : "unclean"));
}

static void add_checkpoint(json_t *object, const struct scan *scan, int dirfd, const char *name)
{
	struct checkpoint checkpoint = {0};
	struct index index;

	if (index_init(&index) < 0)
		return;
	if (checkpoint_read(scan->io, dirfd, name, scan->super, &checkpoint, &index) == 0) {
		set_number(object, "checkpoint_lsn", checkpoint.place.lsn);
		set_number(object, "checkpoint_bytes", checkpoint.bytes);
	}
	checkpoint_release(&checkpoint);
	index_release(&index);
}

static void set_damaged(json_t *object, const char *why)
{
	set(object, "state", json_string("damaged"));
	set(object, "error", text_or_null(why));
}

/* What only opening it tells. */
static void add_content(json_t *object, int dirfd, const char *name)
{
	struct delta_stats stats;
	struct delta *view;
	struct err why = {0};

	if (delta_look(&io_kernel, dirfd, name, true, &view, &why) < 0) {
		set_damaged(object, why.message);
		return;
	}
	delta_stats(view, &stats);
	set_number(object, "live_bytes", stats.live_bytes);
	set_number(object, "data_blocks", stats.data_blocks);
	set_number(object, "replay_bytes", stats.replayed_bytes);
	delta_abandon(view);
}

static int add_unknown(json_t *object)
{
	static const char *const keys[] = {"error", "host", "log_bytes", "used_bytes", "free_bytes",
		"live_bytes", "data_blocks", "replay_bytes", "checkpoint_lsn", "checkpoint_bytes"};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(keys) / sizeof(keys[0]); i++)
		rc = set(object, keys[i], json_null());
	return rc;
}

/* The daemon locks what it has open. */
static bool in_use(int dirfd, const char *name)
{
	char file[NAME_TEXT];
	AUTO_CLOSE int fd = -1;

	snprintf(file, sizeof(file), "%s.super", name);
	fd = openat(dirfd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd >= 0 && io_lock_test(fd, 0, 1) == 1;
}

static int add_delta(json_t *object, int dirfd, const struct id *id, uint64_t size_bytes)
{
	char name[ID_TEXT];
	struct scan *scan;
	struct err why = {0};
	int rc;

	id_format(id, name);
	rc = set(object, "log", json_string(name));
	if (rc == 0)
		rc = set_number(object, "size_bytes", size_bytes);
	if (rc == 0)
		rc = add_unknown(object);
	if (rc < 0)
		return rc;
	if (scan_open(&io_kernel, dirfd, name, &scan, &why) < 0) {
		set_damaged(object, why.message);
		return 0;
	}
	add_slots(object, scan);
	if (!scan->super) {
		set_damaged(object, "no valid super block");
	} else {
		add_super(object, scan->super);
		add_checkpoint(object, scan, dirfd, name);
		if (in_use(dirfd, name))
			set(object, "state", json_string("in use"));
		else
			add_content(object, dirfd, name);
	}
	scan_close(scan);
	return 0;
}

/* ---- layers ---- */

static json_t *find_layer(const struct describing *d, const struct id *id)
{
	char text[ID_TEXT];
	json_t *layer;
	size_t i;

	id_format(id, text);
	json_array_foreach(d->layers, i, layer)
		if (strcmp(json_string_value(json_object_get(layer, "log")), text) == 0)
			return layer;
	return NULL;
}

static int add_user(json_t *layer, const char *clone)
{
	json_t *users = json_object_get(layer, "users"), *user;
	size_t i;

	json_array_foreach(users, i, user)
		if (strcmp(json_string_value(user), clone) == 0)
			return 0;
	return json_array_append_new(users, json_string(clone)) < 0 ? -ENOMEM : 0;
}

/* Each once, with the clones that are stacked on it. */
static int add_layer(struct describing *d, const struct store_layer *layer, const char *clone)
{
	json_t *object = find_layer(d, &layer->id);

	if (!object) {
		object = json_pack("{s:[]}", "users");
		if (!object || add_delta(object, d->layers_fd, &layer->id, layer->size_bytes) < 0 ||
			json_array_append_new(d->layers, object) < 0)
			return -ENOMEM;
	}
	return add_user(object, clone);
}

static int add_layers(struct describing *d, json_t *object, const struct store_disk *disk,
	const char *clone)
{
	json_t *ids = json_array();
	int rc = set(object, "layers", ids);

	for (uint32_t i = 0; rc == 0 && i < disk->n_layers; i++) {
		if (json_array_append_new(ids, id_text(&disk->layers[i].id)) < 0)
			return -ENOMEM;
		rc = add_layer(d, &disk->layers[i], clone);
	}
	return rc;
}

/* ---- clones ---- */

static int add_disk(struct describing *d, json_t *disks, const struct manifest *m, uint32_t i)
{
	const struct store_disk *disk = &m->disks[i];
	AUTO_CLOSE int dirfd = store_clone_dirfd(d->store, m->name);
	json_t *object = json_pack("{s:s, s:o, s:I}", "target", disk->target, "base",
		text_or_null(disk->base_path), "base_limit_bytes",
		(json_int_t)disk->base_limit_bytes);
	int rc = object && json_array_append_new(disks, object) == 0 ? 0 : -ENOMEM;

	if (rc == 0)
		rc = add_layers(d, object, disk, m->name);
	if (rc == 0)
		rc = add_delta(object, dirfd, &disk->log, disk->size_bytes);
	return rc;
}

static int add_snapshots(json_t *object, const struct manifest *m)
{
	json_t *snapshots = json_array();
	int rc = set(object, "snapshots", snapshots);

	for (uint32_t i = 0; rc == 0 && i < m->n_snapshots; i++)
		rc = json_array_append_new(snapshots,
			json_pack("{s:s, s:I}", "name", m->snapshots[i].name, "created",
				(json_int_t)m->snapshots[i].created_sec)) < 0 ? -ENOMEM : 0;
	return rc;
}

static int add_clone(struct describing *d, json_t *object, const struct manifest *m,
	const char *target, struct err *err)
{
	json_t *disks = json_array();
	int rc = set(object, "disks", disks);

	if (rc == 0)
		rc = set(object, "id", id_text(&m->id));
	if (rc == 0)
		rc = set_number(object, "created", (uint64_t)m->created_sec);
	if (rc == 0)
		rc = set_number(object, "quota_bytes", m->quota_bytes);
	if (rc == 0)
		rc = add_snapshots(object, m);
	for (uint32_t i = 0; rc == 0 && i < m->n_disks; i++)
		if (!target || strcmp(target, m->disks[i].target) == 0)
			rc = add_disk(d, disks, m, i);
	if (rc == 0 && target && json_array_size(disks) == 0)
		return err_set(err, -ENOENT, "clone %s: it has no disk %s", m->name, target);
	return rc;
}

static int describe_clone(struct describing *d, const char *name, const char *target,
	struct err *err)
{
	struct manifest *m = NULL;
	struct err why = {0};
	json_t *object = json_pack("{s:s, s:n, s:[], s:[]}", "name", name, "error", "disks",
		"snapshots");
	int rc = object && json_array_append_new(d->clones, object) == 0 ? 0 : -ENOMEM;

	if (rc < 0)
		return rc;
	rc = store_manifest_read(d->store, name, &m, &why);
	if (rc == -ENOENT)
		return err_set(err, rc, "%s", why.message);
	if (rc < 0)
		return set(object, "error", text_or_null(why.message));
	rc = add_clone(d, object, m, target, err);
	manifest_free(m);
	return rc;
}

/* The layers of one clone may have users among the others. */
static int add_users_of(struct describing *d, const struct manifest *m)
{
	int rc = 0;

	for (uint32_t i = 0; i < m->n_disks; i++)
		for (uint32_t j = 0; rc == 0 && j < m->disks[i].n_layers; j++) {
			json_t *layer = find_layer(d, &m->disks[i].layers[j].id);

			rc = layer ? add_user(layer, m->name) : 0;
		}
	return rc;
}

static int add_other_users(struct describing *d, struct err *err)
{
	char **names;
	uint32_t n;
	int rc = json_array_size(d->layers) ? store_list(d->store, &names, &n, err) : 1;

	if (rc != 0)
		return rc < 0 ? rc : 0;
	for (uint32_t i = 0; rc == 0 && i < n; i++) {
		struct manifest *m;

		/* One that is gone by now, or damaged, is nobody who can be named. */
		if (store_manifest_read(d->store, names[i], &m, NULL) < 0)
			continue;
		rc = add_users_of(d, m);
		manifest_free(m);
	}
	store_names_free(names, n);
	return rc;
}

static int describe_all(struct describing *d, struct err *err)
{
	char **names;
	uint32_t n;
	int rc = store_list(d->store, &names, &n, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < n; i++) {
		rc = describe_clone(d, names[i], NULL, err);
		if (rc == -ENOENT) { /* removed since it was listed */
			json_array_remove(d->clones, json_array_size(d->clones) - 1);
			rc = 0;
		}
	}
	store_names_free(names, n);
	return rc;
}

static int make_document(struct describing *d)
{
	d->clones = json_array();
	d->layers = json_array();
	d->document = json_pack("{s:s, s:o, s:b, s:o, s:o}", "store", store_path(d->store), "id",
		id_text(store_id(d->store)), "served", d->served, "clones", d->clones, "layers",
		d->layers);
	return d->document ? 0 : -ENOMEM;
}

int describe_store(struct store *store, const char *clone, const char *target,
	json_t **ret_document, struct err *err)
{
	struct describing d = {.store = store, .served = store_locked(store) == 1};
	int rc = make_document(&d);

	d.layers_fd = openat(
		store_dirfd(store), "layers", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (rc == 0)
		rc = clone ? describe_clone(&d, clone, target, err) : describe_all(&d, err);
	if (rc == 0 && clone)
		rc = add_other_users(&d, err);
	close_fd(&d.layers_fd);
	if (rc < 0) {
		json_decref(d.document);
		return err->code ? rc : err_sys(err, rc, "cannot describe the store");
	}
	*ret_document = d.document;
	return 0;
}
