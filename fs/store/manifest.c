/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The manifest in memory: making, checking and freeing it. Its text: manifest-json.c. */
#include "fs/store/manifest.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/store/delta.h"
#include "fs/util/cleanup.h"
#include "fs/util/text.h"

bool store_name_valid(const char *name)
{
	size_t len = strnlen(name, STORE_NAME_MAX + 1);

	return len >= 1 && len <= STORE_NAME_MAX && name[0] != '.' && !strchr(name, '/') &&
	       text_is_plain(name);
}

bool store_target_valid(const char *target)
{
	size_t len = strnlen(target, STORE_TARGET_MAX + 1);

	if (len < 1 || len > STORE_TARGET_MAX || !isalnum((unsigned char)target[0]))
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!isalnum((unsigned char)target[i]) && target[i] != '-' && target[i] != '_')
			return false;
	}
	return true;
}

int manifest_new(const char *name, struct manifest **ret_manifest)
{
	struct manifest *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->name = strdup(name);
	if (!m->name) {
		free(m);
		return -ENOMEM;
	}
	m->id = id_new();
	do
		m->node = random_u64() & STORE_NODE_MAX;
	while (m->node == 0);
	m->created_sec = time(NULL);
	*ret_manifest = m;
	return 0;
}

void store_snapshot_release(struct store_snapshot *snapshot)
{
	free(snapshot->name);
	free(snapshot->tops);
}

void manifest_free(struct manifest *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->n_disks; i++) {
		free(m->disks[i].base_path);
		free(m->disks[i].base_format);
		free(m->disks[i].base_identity);
		free(m->disks[i].layers);
	}
	for (uint32_t i = 0; i < m->n_snapshots; i++)
		store_snapshot_release(&m->snapshots[i]);
	free(m->snapshots);
	free(m->disks);
	free(m->name);
	free(m);
}

struct store_disk *manifest_add_disk(struct manifest *m, const char *target)
{
	uint32_t number = 0;
	struct store_disk *disks;
	struct store_disk *disk;

	if (m->n_disks >= STORE_DISKS_MAX || m->n_snapshots > 0 || !store_target_valid(target))
		return NULL;
	disks = reallocarray(m->disks, m->n_disks + 1, sizeof(*disks));
	if (!disks)
		return NULL;
	m->disks = disks;
	for (uint32_t i = 0; i < m->n_disks; i++)
		number = disks[i].number > number ? disks[i].number : number;
	disk = &disks[m->n_disks++];
	memset(disk, 0, sizeof(*disk));
	memcpy(disk->target, target, strlen(target));
	disk->number = number + 1;
	disk->log = id_new();
	return disk;
}

int manifest_copy(const struct manifest *m, struct manifest **ret_copy)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int rc = manifest_format(m, &text, &len);

	return rc < 0 ? rc : manifest_parse(text, len, ret_copy, NULL);
}

struct store_snapshot *manifest_snapshot(const struct manifest *m, const char *name)
{
	for (uint32_t i = 0; i < m->n_snapshots; i++) {
		if (strcmp(m->snapshots[i].name, name) == 0)
			return &m->snapshots[i];
	}
	return NULL;
}

/* n_layers also for a top that is none of the layers, which no checked manifest has. */
static uint32_t layer_index(const struct store_disk *disk, const struct id *id)
{
	uint32_t i = 0;

	while (i < disk->n_layers && !id_equal(&disk->layers[i].id, id))
		i++;
	return i;
}

uint32_t manifest_snapshot_top(const struct manifest *m, const struct store_snapshot *snapshot,
	const struct store_disk *disk)
{
	return layer_index(disk, &snapshot->tops[disk - m->disks]);
}

static bool format_known(const char *format)
{
	return format && (strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0);
}

static const char *disk_base_problem(const struct store_disk *disk)
{
	if (!disk->base_path || disk->base_path[0] != '/')
		return "base path is not absolute";
	if (strnlen(disk->base_path, STORE_PATH_MAX) >= STORE_PATH_MAX)
		return "base path is too long";
	if (!text_is_utf8(disk->base_path))
		return "base path is not UTF-8";
	if (!format_known(disk->base_format))
		return "base format is not known";
	if (!disk->base_identity || !disk->base_identity[0])
		return "base identity is missing";
	if (strnlen(disk->base_identity, STORE_IDENTITY_MAX + 1) > STORE_IDENTITY_MAX)
		return "base identity is too long";
	if (!text_is_plain(disk->base_identity))
		return "base identity is not one line of text";
	return NULL;
}

static bool size_valid(uint64_t size_bytes)
{
	return size_bytes >= 512 && size_bytes <= DELTA_SIZE_MAX && size_bytes % 512 == 0;
}

static const char *disk_layers_problem(const struct store_disk *disk)
{
	uint64_t above = disk->size_bytes;

	if (disk->n_layers > STORE_LAYERS_MAX)
		return "too many layers";
	for (uint32_t i = 0; i < disk->n_layers; i++) {
		const struct store_layer *layer = &disk->layers[i];

		if (!size_valid(layer->size_bytes))
			return "size of a layer is not a multiple of 512 up to 64 TiB";
		if (layer->size_bytes > above)
			return "a layer is larger than what is stacked on it";
		above = layer->size_bytes;
	}
	return NULL;
}

static const char *disk_problem(const struct store_disk *disk)
{
	const char *problem;

	if (!store_target_valid(disk->target))
		return "target is not valid";
	if (disk->number < 1 || disk->number > STORE_NUMBER_MAX)
		return "number is out of range";
	if (!size_valid(disk->size_bytes))
		return "size is not a multiple of 512 up to 64 TiB";
	if (disk->base_limit_bytes > disk->size_bytes)
		return "base limit is beyond the size";
	if (disk->mode & ~(mode_t)0777)
		return "mode has more than permission bits";
	problem = disk_layers_problem(disk);
	return problem ? problem : disk_base_problem(disk);
}

/* Against 255 others at most: no need for more than a loop. */
static const char *duplicate_problem(const struct manifest *m, uint32_t n)
{
	const struct store_disk *disk = &m->disks[n];

	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(m->disks[i].target, disk->target) == 0)
			return "target is there twice";
		if (m->disks[i].number == disk->number)
			return "number is there twice";
	}
	return NULL;
}

static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct id));
}

/* Logs and layers: each at one place of one disk. */
static int check_ids(const struct manifest *m, int code, struct err *err)
{
	AUTO_FREE struct id *ids = NULL;
	size_t n = m->n_disks, used = 0;

	for (uint32_t i = 0; i < m->n_disks; i++)
		n += m->disks[i].n_layers;
	ids = calloc(n + 1, sizeof(*ids));
	if (!ids)
		return err_sys(err, -ENOMEM, "manifest of %s", m->name);
	for (uint32_t i = 0; i < m->n_disks; i++) {
		const struct store_disk *disk = &m->disks[i];

		ids[used++] = disk->log;
		for (uint32_t k = 0; k < disk->n_layers; k++)
			ids[used++] = disk->layers[k].id;
	}
	qsort(ids, n, sizeof(*ids), compare_ids);
	for (size_t i = 0; i < n; i++) {
		if (id_is_zero(&ids[i]))
			return err_set(err, code, "manifest of %s: id of a log or layer is zero",
				m->name);
		if (i > 0 && id_equal(&ids[i - 1], &ids[i]))
			return err_set(err, code, "manifest of %s: a log or layer is there twice",
				m->name);
	}
	return 0;
}

static const char *snapshot_problem(const struct manifest *m, uint32_t n)
{
	const struct store_snapshot *snapshot = &m->snapshots[n];

	if (!snapshot->name || !store_name_valid(snapshot->name))
		return "name is not valid";
	if (snapshot->created_sec < 0)
		return "created is negative";
	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(m->snapshots[i].name, snapshot->name) == 0)
			return "name is there twice";
	}
	for (uint32_t i = 0; i < m->n_disks; i++) {
		const struct store_disk *disk = &m->disks[i];

		if (!id_is_zero(&snapshot->tops[i]) &&
			layer_index(disk, &snapshot->tops[i]) == disk->n_layers)
			return "a top is no layer of its disk";
	}
	return NULL;
}

static int check_snapshots(const struct manifest *m, int code, struct err *err)
{
	if (m->n_snapshots > STORE_SNAPSHOTS_MAX)
		return err_set(err, code, "manifest of %s: more than %d snapshots", m->name,
			STORE_SNAPSHOTS_MAX);
	for (uint32_t i = 0; i < m->n_snapshots; i++) {
		const char *problem = snapshot_problem(m, i);

		if (problem)
			return err_set(err, code, "manifest of %s: snapshot %u: %s", m->name,
				i + 1, problem);
	}
	return 0;
}

static int check_disks(const struct manifest *m, int code, struct err *err)
{
	for (uint32_t i = 0; i < m->n_disks; i++) {
		const char *problem = disk_problem(&m->disks[i]);

		if (!problem)
			problem = duplicate_problem(m, i);
		if (problem)
			return err_set(err, code, "manifest of %s: disk %u: %s", m->name, i + 1,
				problem);
	}
	return check_ids(m, code, err);
}

int manifest_check(const struct manifest *m, int code, struct err *err)
{
	int rc;

	if (!m->name || !store_name_valid(m->name))
		return err_set(err, code, "manifest: name is not valid");
	if (m->node < 1 || m->node > STORE_NODE_MAX)
		return err_set(err, code, "manifest of %s: node is out of range", m->name);
	if (m->created_sec < 0)
		return err_set(err, code, "manifest of %s: created is negative", m->name);
	if (m->n_disks > STORE_DISKS_MAX)
		return err_set(err, code, "manifest of %s: more than %d disks", m->name,
			STORE_DISKS_MAX);
	if (m->quota_bytes > INT64_MAX)
		return err_set(err, code, "manifest of %s: quota is out of range", m->name);
	rc = check_disks(m, code, err);
	return rc < 0 ? rc : check_snapshots(m, code, err);
}
