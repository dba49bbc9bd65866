/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The manifest as text: one sealed JSON object (sealed.h).
 *
 *	{"format": "lazyclone manifest", "version": 1,
 *	 "name": TEXT, "id": ID, "node": N, "created": SECONDS,
 *	 "disks": [{"target": "vda", "number": N, "log": ID, "size_bytes": N,
 *	    "base": {"path": TEXT, "format": "raw" | "qcow2", "identity": TEXT,
 *	             "limit_bytes": N},
 *	    "uid": N, "gid": N, "mode": "0600",
 *	    "layers": [{"id": ID, "size_bytes": N}]}],
 *	 "quota_bytes": N,
 *	 "snapshots": [{"name": TEXT, "created": SECONDS, "tops": [ID]}],
 *	 "checksum": HEX}
 *
 * Layers are newest first, snapshots oldest first; tops has one ID per disk,
 * all digits 0 for the base alone. ID is 32 hexadecimal digits. Members this version does not know are passed
 * over; whoever adds one that must not be lost sets a feature word of the
 * store (label.h).
 */
#include "fs/store/manifest.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/sealed.h"
#include "fs/util/cleanup.h"

#define MANIFEST_FORMAT "lazyclone manifest"

static json_t *id_to_json(const struct id *id)
{
	char text[ID_TEXT];

	id_format(id, text);
	return json_string(text);
}

/* Append item to array; takes over item. array NULL, item NULL: no memory. */
static json_t *with_item(json_t *array, json_t *item)
{
	if (array && json_array_append_new(array, item) == 0)
		return array;
	if (!array)
		json_decref(item);
	json_decref(array);
	return NULL;
}

static json_t *layers_to_json(const struct store_disk *disk)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < disk->n_layers; i++)
		array = with_item(array, json_pack("{s:o, s:I}", "id",
			id_to_json(&disk->layers[i].id), "size_bytes",
			(json_int_t)disk->layers[i].size_bytes));
	return array;
}

static json_t *snapshots_to_json(const struct manifest *m)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < m->n_snapshots; i++) {
		const struct store_snapshot *snapshot = &m->snapshots[i];
		json_t *tops = json_array();

		for (uint32_t k = 0; tops && k < m->n_disks; k++)
			tops = with_item(tops, id_to_json(&snapshot->tops[k]));
		array = with_item(array, json_pack("{s:s, s:I, s:o}", "name", snapshot->name,
			"created", (json_int_t)snapshot->created_sec, "tops", tops));
	}
	return array;
}

static json_t *disk_to_json(const struct store_disk *disk)
{
	char log[ID_TEXT];
	char mode[8];

	id_format(&disk->log, log);
	snprintf(mode, sizeof(mode), "%04o", (unsigned int)disk->mode & 0777);
	return json_pack("{s:s, s:I, s:s, s:I, s:{s:s, s:s, s:s, s:I}, s:I, s:I, s:s, s:o}",
		"target", disk->target, "number", (json_int_t)disk->number, "log", log,
		"size_bytes", (json_int_t)disk->size_bytes, "base", "path", disk->base_path,
		"format", disk->base_format, "identity", disk->base_identity, "limit_bytes",
		(json_int_t)disk->base_limit_bytes, "uid", (json_int_t)disk->uid, "gid",
		(json_int_t)disk->gid, "mode", mode, "layers", layers_to_json(disk));
}

static json_t *manifest_to_json(const struct manifest *m)
{
	json_t *disks = json_array();
	char id[ID_TEXT];

	for (uint32_t i = 0; disks && i < m->n_disks; i++)
		disks = with_item(disks, disk_to_json(&m->disks[i]));
	id_format(&m->id, id);
	return json_pack("{s:s, s:s, s:I, s:I, s:o, s:I, s:o}", "name", m->name, "id", id, "node",
		(json_int_t)m->node, "created", (json_int_t)m->created_sec, "disks", disks,
		"quota_bytes", (json_int_t)m->quota_bytes, "snapshots", snapshots_to_json(m));
}

int manifest_format(const struct manifest *m, char **ret_text, size_t *ret_len)
{
	AUTO_FREE char *text = NULL;
	json_t *object;
	size_t len;
	int rc = manifest_check(m, -EINVAL, NULL);

	if (rc < 0)
		return rc;
	object = manifest_to_json(m);
	if (!object)
		return -ENOMEM;
	rc = sealed_format(object, MANIFEST_FORMAT, &text, &len);
	json_decref(object);
	if (rc < 0)
		return rc;
	if (len > STORE_MANIFEST_MAX)
		return -EFBIG;
	*ret_text = steal_ptr(&text);
	*ret_len = len;
	return 0;
}

/* Readers of one member: 0 or -EUCLEAN, and err says which member it was. */

static int get_u64(const json_t *object, const char *key, uint64_t max, uint64_t *ret_value,
	struct err *err)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
		(uint64_t)json_integer_value(value) > max)
		return err_set(err, -EUCLEAN, "%s is no number up to %llu", key,
			(unsigned long long)max);
	*ret_value = (uint64_t)json_integer_value(value);
	return 0;
}

/* Empty strings and embedded NULs are refused. */
static int get_text(const json_t *object, const char *key, size_t max, char **ret_text,
	struct err *err)
{
	const json_t *value = json_object_get(object, key);
	size_t len = json_string_length(value);

	if (!json_is_string(value) || len < 1 || len > max ||
		strlen(json_string_value(value)) != len)
		return err_set(err, -EUCLEAN, "%s is no text of 1 to %zu bytes", key, max);
	*ret_text = strdup(json_string_value(value));
	return *ret_text ? 0 : err_sys(err, -ENOMEM, "%s", key);
}

static int get_id(const json_t *object, const char *key, struct id *ret_id, struct err *err)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text || id_parse(text, ret_id) < 0)
		return err_set(err, -EUCLEAN, "%s is no id", key);
	return 0;
}

static int get_mode(const json_t *object, mode_t *ret_mode, struct err *err)
{
	const char *text = json_string_value(json_object_get(object, "mode"));
	mode_t mode = 0;

	if (!text || strlen(text) != 4 || strspn(text, "01234567") != 4)
		return err_set(err, -EUCLEAN, "mode is no octal number of 4 digits");
	for (; *text; text++)
		mode = mode << 3 | (mode_t)(*text - '0');
	*ret_mode = mode;
	return 0;
}

static int base_from_json(const json_t *object, struct store_disk *disk, struct err *err)
{
	int rc = get_text(object, "path", STORE_PATH_MAX, &disk->base_path, err);

	if (rc == 0)
		rc = get_text(object, "format", STORE_NAME_MAX, &disk->base_format, err);
	if (rc == 0)
		rc = get_text(object, "identity", STORE_IDENTITY_MAX, &disk->base_identity, err);
	if (rc == 0)
		rc = get_u64(object, "limit_bytes", INT64_MAX, &disk->base_limit_bytes, err);
	if (rc < 0)
		err_prefix(err, "base");
	return rc;
}

static int owner_from_json(const json_t *object, struct store_disk *disk, struct err *err)
{
	uint64_t uid = 0;
	uint64_t gid = 0;
	int rc = get_u64(object, "uid", UINT32_MAX, &uid, err);

	if (rc == 0)
		rc = get_u64(object, "gid", UINT32_MAX, &gid, err);
	if (rc == 0)
		rc = get_mode(object, &disk->mode, err);
	disk->uid = (uid_t)uid;
	disk->gid = (gid_t)gid;
	return rc;
}

static int layers_from_json(const json_t *array, struct store_disk *disk, struct err *err)
{
	size_t count = json_array_size(array);

	if (!json_is_array(array) || count > STORE_LAYERS_MAX)
		return err_set(err, -EUCLEAN, "layers is no list of up to %d", STORE_LAYERS_MAX);
	disk->layers = calloc(count + 1, sizeof(*disk->layers));
	if (!disk->layers)
		return err_sys(err, -ENOMEM, "layers");
	disk->n_layers = (uint32_t)count;
	for (size_t i = 0; i < count; i++) {
		const json_t *object = json_array_get(array, i);
		int rc = get_id(object, "id", &disk->layers[i].id, err);

		if (rc == 0)
			rc = get_u64(object, "size_bytes", INT64_MAX, &disk->layers[i].size_bytes,
				err);
		if (rc < 0) {
			err_prefix(err, "layer %zu", i + 1);
			return rc;
		}
	}
	return 0;
}

static int disk_from_json(const json_t *object, struct store_disk *disk, struct err *err)
{
	AUTO_FREE char *target = NULL;
	uint64_t number = 0;
	int rc = get_text(object, "target", STORE_TARGET_MAX, &target, err);

	if (rc < 0)
		return rc;
	memcpy(disk->target, target, strlen(target) + 1);
	rc = get_u64(object, "number", STORE_NUMBER_MAX, &number, err);
	disk->number = (uint32_t)number;
	if (rc == 0)
		rc = get_id(object, "log", &disk->log, err);
	if (rc == 0)
		rc = get_u64(object, "size_bytes", INT64_MAX, &disk->size_bytes, err);
	if (rc == 0)
		rc = base_from_json(json_object_get(object, "base"), disk, err);
	if (rc == 0)
		rc = owner_from_json(object, disk, err);
	if (rc == 0)
		rc = layers_from_json(json_object_get(object, "layers"), disk, err);
	return rc;
}

static int disks_from_json(const json_t *array, struct manifest *m, struct err *err)
{
	size_t count = json_array_size(array);

	if (!json_is_array(array) || count > STORE_DISKS_MAX)
		return err_set(err, -EUCLEAN, "disks is no list of up to %d", STORE_DISKS_MAX);
	m->disks = calloc(count + 1, sizeof(*m->disks));
	if (!m->disks)
		return err_sys(err, -ENOMEM, "disks");
	for (size_t i = 0; i < count; i++) {
		int rc;

		m->n_disks++;
		rc = disk_from_json(json_array_get(array, i), &m->disks[i], err);
		if (rc < 0) {
			err_prefix(err, "disk %zu", i + 1);
			return rc;
		}
	}
	return 0;
}

static int tops_from_json(const json_t *array, uint32_t n_disks, struct store_snapshot *snapshot,
	struct err *err)
{
	if (!json_is_array(array) || json_array_size(array) != n_disks)
		return err_set(err, -EUCLEAN, "tops is no list of %u", n_disks);
	snapshot->tops = calloc((size_t)n_disks + 1, sizeof(*snapshot->tops));
	if (!snapshot->tops)
		return err_sys(err, -ENOMEM, "tops");
	for (uint32_t i = 0; i < n_disks; i++) {
		const char *text = json_string_value(json_array_get(array, i));

		if (!text || id_parse(text, &snapshot->tops[i]) < 0)
			return err_set(err, -EUCLEAN, "top %u is no id", i + 1);
	}
	return 0;
}

static int snapshot_from_json(const json_t *object, uint32_t n_disks,
	struct store_snapshot *snapshot, struct err *err)
{
	uint64_t created = 0;
	int rc = get_text(object, "name", STORE_NAME_MAX, &snapshot->name, err);

	if (rc == 0)
		rc = get_u64(object, "created", INT64_MAX, &created, err);
	snapshot->created_sec = (int64_t)created;
	if (rc == 0)
		rc = tops_from_json(json_object_get(object, "tops"), n_disks, snapshot, err);
	return rc;
}

static int snapshots_from_json(const json_t *array, struct manifest *m, struct err *err)
{
	size_t count = json_array_size(array);

	if (!json_is_array(array) || count > STORE_SNAPSHOTS_MAX)
		return err_set(err, -EUCLEAN, "snapshots is no list of up to %d",
			STORE_SNAPSHOTS_MAX);
	m->snapshots = calloc(count + 1, sizeof(*m->snapshots));
	if (!m->snapshots)
		return err_sys(err, -ENOMEM, "snapshots");
	for (size_t i = 0; i < count; i++) {
		int rc;

		m->n_snapshots++;
		rc = snapshot_from_json(json_array_get(array, i), m->n_disks, &m->snapshots[i],
			err);
		if (rc < 0) {
			err_prefix(err, "snapshot %zu", i + 1);
			return rc;
		}
	}
	return 0;
}

static int manifest_from_json(const json_t *object, struct manifest *m, struct err *err)
{
	uint64_t created = 0;
	int rc = get_text(object, "name", STORE_NAME_MAX, &m->name, err);

	if (rc == 0)
		rc = get_id(object, "id", &m->id, err);
	if (rc == 0)
		rc = get_u64(object, "node", STORE_NODE_MAX, &m->node, err);
	if (rc == 0)
		rc = get_u64(object, "created", INT64_MAX, &created, err);
	m->created_sec = (int64_t)created;
	if (rc == 0)
		rc = get_u64(object, "quota_bytes", INT64_MAX, &m->quota_bytes, err);
	if (rc == 0)
		rc = disks_from_json(json_object_get(object, "disks"), m, err);
	if (rc == 0)
		rc = snapshots_from_json(json_object_get(object, "snapshots"), m, err);
	if (rc < 0) {
		err_prefix(err, "manifest");
		return rc;
	}
	return manifest_check(m, -EUCLEAN, err);
}

int manifest_parse(const char *text, size_t len, struct manifest **ret_manifest, struct err *err)
{
	struct manifest *m;
	json_t *object;
	int rc;

	if (len > STORE_MANIFEST_MAX)
		return err_set(err, -EUCLEAN, "manifest: larger than %u bytes", STORE_MANIFEST_MAX);
	rc = sealed_parse(text, len, MANIFEST_FORMAT, &object, err);
	if (rc < 0) {
		err_prefix(err, "manifest");
		return rc;
	}
	m = calloc(1, sizeof(*m));
	rc = m ? manifest_from_json(object, m, err) : err_sys(err, -ENOMEM, "manifest");
	json_decref(object);
	if (rc < 0) {
		manifest_free(m);
		return rc;
	}
	*ret_manifest = m;
	return 0;
}
