/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Layers and the clones that share them: see family.h. */
#include "clone/plan/family.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define STAT_BLOCK 512

/* What the layer's log takes; 0 if it is not there. */
static json_int_t bytes_of(struct store *store, const char *id)
{
	char path[sizeof("layers/.log") + ID_TEXT];
	struct stat st;

	snprintf(path, sizeof(path), "layers/%s.log", id);
	if (fstatat(store_dirfd(store), path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return (json_int_t)st.st_blocks * STAT_BLOCK;
}

/* The newest snapshot whose topmost layer of that disk this is. */
static const char *snapshot_at(const struct manifest *m, const struct store_disk *disk, uint32_t i)
{
	for (uint32_t s = m->n_snapshots; s > 0; s--)
		if (manifest_snapshot_top(m, &m->snapshots[s - 1], disk) == i)
			return m->snapshots[s - 1].name;
	return NULL;
}

static json_t *layer_object(struct store *store, const struct manifest *m,
	const struct store_disk *disk, uint32_t i)
{
	const char *snapshot = snapshot_at(m, disk, i);
	char id[ID_TEXT];

	id_format(&disk->layers[i].id, id);
	return json_pack("{s:s, s:s, s:I, s:I, s:o, s:[]}", "id", id, "target", disk->target,
		"size_bytes", (json_int_t)disk->layers[i].size_bytes, "bytes",
		bytes_of(store, id), "snapshot", snapshot ? json_string(snapshot) : json_null(),
		"needed_by");
}

static json_t *layers_array(struct store *store, const struct manifest *m)
{
	json_t *layers = json_array();

	for (uint32_t i = 0; i < m->n_disks; i++)
		for (uint32_t j = 0; j < m->disks[i].n_layers; j++)
			json_array_append_new(
				layers, layer_object(store, m, &m->disks[i], j));
	return layers;
}

static bool needs(const struct manifest *m, const char *layer)
{
	struct id id;

	if (id_parse(layer, &id) < 0)
		return false;
	for (uint32_t i = 0; i < m->n_disks; i++)
		for (uint32_t j = 0; j < m->disks[i].n_layers; j++)
			if (id_equal(&m->disks[i].layers[j].id, &id))
				return true;
	return false;
}

static void add_user(json_t *layers, const struct manifest *m)
{
	json_t *layer;
	size_t i;

	json_array_foreach(layers, i, layer)
		if (needs(m, json_string_value(json_object_get(layer, "id"))))
			json_array_append_new(
				json_object_get(layer, "needed_by"), json_string(m->name));
}

static void add_users(struct store *store, const char *self, json_t *layers)
{
	char **names;
	uint32_t count;

	if (json_array_size(layers) == 0 || store_list(store, &names, &count, NULL) < 0)
		return;
	for (uint32_t i = 0; i < count; i++) {
		struct manifest *m;

		if (strcmp(names[i], self) == 0 ||
			store_manifest_read(store, names[i], &m, NULL) < 0)
			continue;
		add_user(layers, m);
		manifest_free(m);
	}
	store_names_free(names, count);
}

int family_add_layers(struct store *store, json_t *clone)
{
	const char *name = json_string_value(json_object_get(clone, "name"));
	struct manifest *m;
	json_t *layers;
	int rc = name ? store_manifest_read(store, name, &m, NULL) : -ENOENT;

	/* One that is damaged, or went away, has none to show. */
	if (rc < 0)
		return json_object_set_new(clone, "layers", json_array()) < 0 ? -ENOMEM : 0;
	layers = layers_array(store, m);
	add_users(store, name, layers);
	manifest_free(m);
	return json_object_set_new(clone, "layers", layers) < 0 ? -ENOMEM : 0;
}
