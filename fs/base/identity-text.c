/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text form of a base's identity: see identity-text.h. One line of JSON.
 *
 * Format 1 is one raw file or device:
 *
 *	{"format": 1, "kind": "file", "size": 1234567, "sample": "0123456789abcdef",
 *	 "fs": "...", "inode": "...", "mtime": [sec, nsec], "ctime": [sec, nsec]}
 *	{"format": 1, "kind": "device", "size": ..., "sample": "...", "id": "naa.5000..."}
 *
 * Format 2 is any other base. To the members of the top file it adds what the
 * top is read as, and the images below it from the top down, each with the
 * same members and its path:
 *
 *	{"format": 2, "kind": ..., "image": "qcow2", "snapshot": "1",
 *	 "data": {"path": "/...", "kind": ...},
 *	 "below": [{"path": "/...", "image": "raw", "kind": ...}, ...]}
 *
 * "snapshot", "data" and "below" are left out where there is none. 64-bit
 * words that may have the top bit set are 16 hexadecimal digits. A reader
 * ignores members it does not know; a change of meaning is a new format.
 */
#include "fs/base/identity-text.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/source.h"

#define FORMAT_RAW 1
#define FORMAT_CHAIN 2
#define HEX_DIGITS 16
#define NSEC_MAX 999999999

struct hex {
	char text[HEX_DIGITS + 1];
};

int known_new(struct base_source *source, struct known **ret_known)
{
	struct known *known = calloc(1, sizeof(*known));

	if (!known) {
		base_source_free(source);
		return -ENOMEM;
	}
	known->source = source;
	known->images = calloc(source->n_images, sizeof(*known->images));
	known->data = calloc(source->n_images, sizeof(*known->data));
	if (!known->images || !known->data) {
		known_free(known);
		return -ENOMEM;
	}
	*ret_known = known;
	return 0;
}

void known_free(struct known *known)
{
	if (!known)
		return;
	base_source_free(known->source);
	free(known->images);
	free(known->data);
	free(known);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_image(const struct known *a, const struct known *b, uint32_t i)
{
	const struct base_image *x = &a->source->images[i];
	const struct base_image *y = &b->source->images[i];

	return strcmp(x->format, y->format) == 0 && !x->data_path == !y->data_path &&
		identity_same(&a->images[i], &b->images[i]) &&
		(!x->data_path || identity_same(&a->data[i], &b->data[i]));
}

bool known_same(const struct known *a, const struct known *b)
{
	if (a->source->n_images != b->source->n_images ||
		!same_text(a->source->snapshot, b->source->snapshot))
		return false;
	for (uint32_t i = 0; i < a->source->n_images; i++) {
		if (!same_image(a, b, i))
			return false;
	}
	return true;
}

/* ---- writing ---- */

static struct hex hex_of(uint64_t v)
{
	struct hex hex;

	snprintf(hex.text, sizeof(hex.text), "%016" PRIx64, v);
	return hex;
}

/* Add the members of one file. */
static int add_identity(json_t *object, const struct identity *id)
{
	struct hex sample = hex_of(id->sample);
	struct hex fs = hex_of(id->file_system);
	struct hex inode = hex_of(id->inode);
	json_t *members;
	int rc;

	if (id->device)
		members = json_pack("{ss sI ss ss}", "kind", "device", "size",
			(json_int_t)id->size_bytes, "sample", sample.text, "id", id->device_id);
	else
		members = json_pack("{ss sI ss ss ss s[Ii] s[Ii]}", "kind", "file", "size",
			(json_int_t)id->size_bytes, "sample", sample.text, "fs", fs.text,
			"inode", inode.text, "mtime", (json_int_t)id->modified.sec,
			(int)id->modified.nsec, "ctime", (json_int_t)id->changed.sec,
			(int)id->changed.nsec);
	rc = json_object_update(object, members);
	json_decref(members);
	return rc < 0 ? -ENOMEM : 0;
}

static int add_text(json_t *object, const char *member, const char *text)
{
	return json_object_set_new(object, member, json_string(text)) < 0 ? -ENOMEM : 0;
}

static int add_data(json_t *object, const char *path, const struct identity *id)
{
	json_t *data = json_object();
	int rc = add_text(data, "path", path);

	if (rc == 0)
		rc = add_identity(data, id);
	if (json_object_set_new(object, "data", data) < 0)
		rc = -ENOMEM;
	return rc;
}

static int add_image(json_t *object, const struct known *known, uint32_t i)
{
	const struct base_image *image = &known->source->images[i];
	int rc = add_identity(object, &known->images[i]);

	if (rc == 0)
		rc = add_text(object, "image", image->format);
	if (rc == 0 && image->data_path)
		rc = add_data(object, image->data_path, &known->data[i]);
	return rc;
}

static int add_below(json_t *object, const struct known *known)
{
	json_t *below = json_array();
	int rc = 0;

	for (uint32_t i = 1; rc == 0 && i < known->source->n_images; i++) {
		json_t *image = json_object();

		rc = add_text(image, "path", known->source->images[i].path);
		if (rc == 0)
			rc = add_image(image, known, i);
		if (json_array_append_new(below, image) < 0)
			rc = -ENOMEM;
	}
	if (json_object_set_new(object, "below", below) < 0)
		rc = -ENOMEM;
	return rc;
}

static int pack(json_t *object, const struct known *known)
{
	const struct base_source *source = known->source;
	bool raw = source_is_raw(source);
	int rc = 0;

	if (json_object_set_new(object, "format", json_integer(raw ? FORMAT_RAW : FORMAT_CHAIN)) < 0)
		return -ENOMEM;
	if (raw)
		return add_identity(object, &known->images[0]);
	rc = add_image(object, known, 0);
	if (rc == 0 && source->snapshot)
		rc = add_text(object, "snapshot", source->snapshot);
	if (rc == 0 && source->n_images > 1)
		rc = add_below(object, known);
	return rc;
}

int known_format(const struct known *known, char **ret_text)
{
	json_t *object = json_object();
	char *text = NULL;
	int rc = source_is_utf8(known->source) ? pack(object, known) : -EILSEQ;

	if (rc == 0)
		text = json_dumps(object, JSON_ENSURE_ASCII);
	json_decref(object);
	if (rc < 0)
		return rc;
	if (!text)
		return -ENOMEM;
	if (strlen(text) > BASE_IDENTITY_MAX) {
		free(text);
		return -E2BIG;
	}
	*ret_text = text;
	return 0;
}

/* ---- reading ---- */

static bool get_hex(const json_t *json, const char *name, uint64_t *ret_value)
{
	const char *text = json_string_value(json_object_get(json, name));

	if (!text || strlen(text) != HEX_DIGITS ||
		strspn(text, "0123456789abcdef") != HEX_DIGITS)
		return false;
	*ret_value = strtoull(text, NULL, 16);
	return true;
}

static bool get_moment(const json_t *json, const char *name, struct moment *ret_moment)
{
	const json_t *pair = json_object_get(json, name);
	const json_t *sec = json_array_get(pair, 0);
	const json_t *nsec = json_array_get(pair, 1);

	if (json_array_size(pair) != 2 || !json_is_integer(sec) || !json_is_integer(nsec))
		return false;
	if (json_integer_value(nsec) < 0 || json_integer_value(nsec) > NSEC_MAX)
		return false;
	ret_moment->sec = json_integer_value(sec);
	ret_moment->nsec = (uint32_t)json_integer_value(nsec);
	return true;
}

static bool get_size(const json_t *json, uint64_t *ret_size)
{
	const json_t *size = json_object_get(json, "size");

	if (!json_is_integer(size) || json_integer_value(size) <= 0 ||
		(uint64_t)json_integer_value(size) > RAW_SIZE_MAX)
		return false;
	*ret_size = (uint64_t)json_integer_value(size);
	return true;
}

static bool get_device_id(const json_t *json, char ret_id[static IDENTITY_DEVICE_MAX])
{
	const char *text = json_string_value(json_object_get(json, "id"));

	if (!text || strlen(text) >= IDENTITY_DEVICE_MAX)
		return false;
	for (const char *p = text; *p; p++) {
		if (*p <= ' ' || *p > '~')
			return false;
	}
	strcpy(ret_id, text);
	return true;
}

static bool get_identity(const json_t *json, struct identity *id)
{
	const char *kind = json_string_value(json_object_get(json, "kind"));

	if (!kind || !get_size(json, &id->size_bytes) || !get_hex(json, "sample", &id->sample))
		return false;
	id->device = strcmp(kind, "device") == 0;
	if (id->device)
		return get_device_id(json, id->device_id);
	return strcmp(kind, "file") == 0 && get_hex(json, "fs", &id->file_system) &&
		get_hex(json, "inode", &id->inode) && get_moment(json, "mtime", &id->modified) &&
		get_moment(json, "ctime", &id->changed);
}

static int bad_field(struct err *err)
{
	return err_set(err, -EUCLEAN, "identity of a base: a field is missing or wrong");
}

static const char *text_of(const json_t *json, const char *member)
{
	return json_string_value(json_object_get(json, member));
}

static bool get_data(const json_t *data, struct known *known, uint32_t i)
{
	return !data || (text_of(data, "path") && get_identity(data, &known->data[i]));
}

/* One image of format 2; of the top, path is the caller's. */
static int get_image(const json_t *json, const char *path, struct known *known, uint32_t i,
	struct err *err)
{
	const json_t *data = json_object_get(json, "data");
	const char *format = text_of(json, "image");

	if (!path || !format || !get_identity(json, &known->images[i]) ||
		!get_data(data, known, i))
		return bad_field(err);
	return source_set_image(known->source, i, path, format, text_of(data, "path")) < 0
		? err_sys(err, -ENOMEM, "identity of a base") : 0;
}

static int get_chain(const json_t *json, const char *path, struct known *known, struct err *err)
{
	const json_t *snapshot = json_object_get(json, "snapshot");
	const json_t *below = json_object_get(json, "below");
	int rc = get_image(json, path, known, 0, err);

	for (uint32_t i = 1; rc == 0 && i < known->source->n_images; i++) {
		const json_t *image = json_array_get(below, i - 1);

		rc = get_image(image, text_of(image, "path"), known, i, err);
	}
	if (rc == 0 && snapshot && !json_is_string(snapshot))
		return bad_field(err);
	if (rc == 0 && source_set_snapshot(known->source, json_string_value(snapshot)) < 0)
		return err_sys(err, -ENOMEM, "identity of a base");
	return rc;
}

static int get_raw(const json_t *json, const char *path, struct known *known, struct err *err)
{
	if (!get_identity(json, &known->images[0]))
		return bad_field(err);
	return source_set_image(known->source, 0, path, "raw", NULL) < 0
		? err_sys(err, -ENOMEM, "identity of a base") : 0;
}

static int new_known(const json_t *json, json_int_t format, struct known **ret_known,
	struct err *err)
{
	const json_t *below = format == FORMAT_CHAIN ? json_object_get(json, "below") : NULL;
	struct base_source *source;
	int rc;

	if (below && (!json_is_array(below) || json_array_size(below) >= BASE_IMAGES_MAX))
		return bad_field(err);
	rc = source_new(1 + (uint32_t)json_array_size(below), &source);
	if (rc == 0)
		rc = known_new(source, ret_known);
	return rc < 0 ? err_sys(err, rc, "identity of a base") : 0;
}

static int parse_json(const json_t *json, const char *path, struct known **ret_known,
	struct err *err)
{
	json_int_t format = json_integer_value(json_object_get(json, "format"));
	struct known *known = NULL;
	int rc;

	if (format > FORMAT_CHAIN)
		return err_set(err, -EUCLEAN, "identity of a base: format %lld, known are up to %d",
			(long long)format, FORMAT_CHAIN);
	if (format != FORMAT_RAW && format != FORMAT_CHAIN)
		return bad_field(err);
	rc = new_known(json, format, &known, err);
	if (rc == 0)
		rc = format == FORMAT_RAW ? get_raw(json, path, known, err)
					  : get_chain(json, path, known, err);
	if (rc == 0)
		rc = source_check(known->source, "identity of a base", err);
	if (rc == 0)
		*ret_known = known;
	else
		known_free(known);
	return rc;
}

int known_parse(const char *path, const char *text, struct known **ret_known, struct err *err)
{
	size_t len = strnlen(text, BASE_IDENTITY_MAX + 1);
	json_t *json;
	int rc;

	if (len > BASE_IDENTITY_MAX)
		return err_set(err, -EUCLEAN, "identity of a base: longer than %d bytes",
			BASE_IDENTITY_MAX);
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		return err_set(err, -EUCLEAN, "identity of a base: not a JSON object");
	}
	rc = parse_json(json, path, ret_known, err);
	json_decref(json);
	return rc;
}
