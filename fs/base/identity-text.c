/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text form of an identity: one line of JSON, as it stands in manifests.
 *
 *	{"format": 1, "kind": "file", "size": 1234567, "sample": "0123456789abcdef",
 *	 "fs": "...", "inode": "...", "mtime": [sec, nsec], "ctime": [sec, nsec]}
 *	{"format": 1, "kind": "device", "size": ..., "sample": "...", "id": "naa.5000..."}
 *
 * 64-bit words that may have the top bit set are 16 hexadecimal digits. A
 * reader ignores members it does not know; a change of meaning is a new format.
 */
#include "fs/base/identity.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 1
#define HEX_DIGITS 16
#define NSEC_MAX 999999999

struct hex {
	char text[HEX_DIGITS + 1];
};

static struct hex hex_of(uint64_t v)
{
	struct hex hex;

	snprintf(hex.text, sizeof(hex.text), "%016" PRIx64, v);
	return hex;
}

static json_t *pack(const struct identity *id)
{
	struct hex sample = hex_of(id->sample);
	struct hex fs = hex_of(id->file_system);
	struct hex inode = hex_of(id->inode);

	if (id->device)
		return json_pack("{si ss sI ss ss}", "format", FORMAT, "kind", "device", "size",
			(json_int_t)id->size_bytes, "sample", sample.text, "id", id->device_id);
	return json_pack("{si ss sI ss ss ss s[Ii] s[Ii]}", "format", FORMAT, "kind", "file",
		"size", (json_int_t)id->size_bytes, "sample", sample.text, "fs", fs.text, "inode",
		inode.text, "mtime", (json_int_t)id->modified.sec, (int)id->modified.nsec, "ctime",
		(json_int_t)id->changed.sec, (int)id->changed.nsec);
}

int identity_format(const struct identity *identity, char **ret_text)
{
	json_t *json = pack(identity);
	char *text = json ? json_dumps(json, JSON_ENSURE_ASCII) : NULL;

	json_decref(json);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

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

static bool get_all(const json_t *json, struct identity *id)
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

static int parse_json(const json_t *json, struct identity *ret_identity, struct err *err)
{
	struct identity id = {0};
	json_int_t format = json_integer_value(json_object_get(json, "format"));

	if (format > FORMAT)
		return err_set(err, -EUCLEAN, "identity of a base: format %lld, known is %d",
			(long long)format, FORMAT);
	if (format != FORMAT || !get_all(json, &id))
		return err_set(err, -EUCLEAN, "identity of a base: a field is missing or wrong");
	*ret_identity = id;
	return 0;
}

int identity_parse(const char *text, struct identity *ret_identity, struct err *err)
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
	rc = parse_json(json, ret_identity, err);
	json_decref(json);
	return rc;
}
