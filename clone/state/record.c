/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records as JSON files: written whole, read with every text, count and number checked.
 *
 *	{"record": 1, "uri": TEXT | null, "uuid": TEXT | null, "source": TEXT, "source_uuid": TEXT,
 *	 "nvram": PATH | null, "created": SEC, "phase": "clone" | "copying" | "copied" | "defined",
 *	 "disks": [{"target", "source": PATH, "driver": XML | null,
 *	     "image": PATH | null, "temp": PATH | null, "temp_ino": "NUMBER"}]}
 */
#include "clone/state/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <uuid/uuid.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"

#define RECORD_VERSION 1

static const char *const phase_names[] = {
	[RECORD_CLONE] = "clone",
	[RECORD_COPYING] = "copying",
	[RECORD_COPIED] = "copied",
	[RECORD_DEFINED] = "defined",
};
#define N_PHASES (sizeof(phase_names) / sizeof(phase_names[0]))

void record_free(struct record *record)
{
	if (!record)
		return;
	for (uint32_t i = 0; i < record->n_disks; i++) {
		free(record->disks[i].target);
		free(record->disks[i].source);
		free(record->disks[i].driver);
		free(record->disks[i].image);
		free(record->disks[i].temp);
	}
	free(record->disks);
	free(record->uri);
	free(record->uuid);
	free(record->source_name);
	free(record->source_uuid);
	free(record->nvram);
	free(record);
}

struct record *record_new(uint32_t n_disks)
{
	struct record *record = calloc(1, sizeof(*record));

	if (!record)
		return NULL;
	record->disks = calloc((size_t)n_disks + 1, sizeof(*record->disks));
	if (!record->disks) {
		free(record);
		return NULL;
	}
	record->n_disks = n_disks;
	return record;
}

struct record_disk *record_disk_find(struct record *record, const char *target)
{
	for (uint32_t i = 0; i < record->n_disks; i++)
		if (strcmp(record->disks[i].target, target) == 0)
			return &record->disks[i];
	return NULL;
}

void record_uuid_new(char text[static 37])
{
	uuid_t uuid;

	uuid_generate_random(uuid);
	uuid_unparse_lower(uuid, text);
}

/* ---- writing ---- */

static bool put(json_t *object, const char *member, json_t *value)
{
	return json_object_set_new(object, member, value) == 0;
}

/* What the reader would refuse is not written. */
static bool put_text(json_t *object, const char *member, const char *text)
{
	if (text && strlen(text) > RECORD_TEXT_MAX)
		return false;
	return put(object, member, text ? json_string(text) : json_null());
}

static json_t *disk_to_json(const struct record_disk *disk)
{
	json_t *object = json_object();
	char ino[24];

	snprintf(ino, sizeof(ino), "%llu", (unsigned long long)disk->temp_ino);
	if (object && put_text(object, "target", disk->target) &&
		put_text(object, "source", disk->source) &&
		put_text(object, "driver", disk->driver) && put_text(object, "image", disk->image) &&
		put_text(object, "temp", disk->temp) && put_text(object, "temp_ino", ino))
		return object;
	json_decref(object);
	return NULL;
}

static json_t *disks_to_json(const struct record *record)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < record->n_disks; i++) {
		if (json_array_append_new(array, disk_to_json(&record->disks[i])) == 0)
			continue;
		json_decref(array);
		return NULL;
	}
	return array;
}

int record_format(const struct record *record, char **ret_text)
{
	json_t *object = json_object();
	char *text = NULL;

	if (object && put(object, "record", json_integer(RECORD_VERSION)) &&
		put_text(object, "uri", record->uri) && put_text(object, "uuid", record->uuid) &&
		put_text(object, "source", record->source_name) &&
		put_text(object, "source_uuid", record->source_uuid) &&
		put_text(object, "nvram", record->nvram) &&
		(!record->frozen || put(object, "frozen", json_true())) &&
		put(object, "created", json_integer(record->created_sec)) &&
		put_text(object, "phase", phase_names[record->phase]) &&
		put(object, "disks", disks_to_json(record)))
		text = json_dumps(object, JSON_INDENT(1));
	json_decref(object);
	if (!text)
		return -EILSEQ; /* a text that is too long or not UTF-8; or no memory */
	*ret_text = text;
	return 0;
}

static int write_with(int (*write)(const struct io_gate *, int, const char *, const void *, size_t,
			      mode_t),
	int dirfd, const struct record *record, struct err *err)
{
	AUTO_FREE char *text = NULL;
	int rc = record_format(record, &text);

	if (rc == 0)
		rc = write(&io_kernel, dirfd, RECORD_NAME, text, strlen(text), 0600);
	return rc < 0 ? err_sys(err, rc, "cannot write the clone's record") : 0;
}

int record_write(int dirfd, const struct record *record, struct err *err)
{
	return write_with(io_publish, dirfd, record, err);
}

int record_write_new(int dirfd, const struct record *record, struct err *err)
{
	return write_with(io_write_file, dirfd, record, err);
}

/* ---- reading ---- */

/* One member to one field; the first that does not fit is named. */
struct reader {
	const json_t *object;
	const char *wrong;
};

static void get_text(struct reader *r, const char *member, bool may_be_null, char **ret_text)
{
	const json_t *value = json_object_get(r->object, member);
	size_t len = json_string_length(value);

	if (may_be_null && json_is_null(value))
		return;
	if (json_is_string(value) && len > 0 && len <= RECORD_TEXT_MAX &&
		strlen(json_string_value(value)) == len)
		*ret_text = strdup(json_string_value(value));
	if (!*ret_text && !r->wrong)
		r->wrong = member;
}

static void get_path(struct reader *r, const char *member, bool may_be_null, char **ret_path)
{
	get_text(r, member, may_be_null, ret_path);
	if (*ret_path && (*ret_path)[0] != '/' && !r->wrong)
		r->wrong = member;
}

/* Absent is false: what is true of few is said by them only. */
static void get_flag(struct reader *r, const char *member, bool *ret_flag)
{
	const json_t *value = json_object_get(r->object, member);

	*ret_flag = json_is_true(value);
	if (value && !json_is_boolean(value) && !r->wrong)
		r->wrong = member;
}

static void get_seconds(struct reader *r, const char *member, int64_t *ret_sec)
{
	const json_t *value = json_object_get(r->object, member);

	if (json_is_integer(value))
		*ret_sec = json_integer_value(value);
	else if (!r->wrong)
		r->wrong = member;
}

static void get_ino(struct reader *r, const char *member, uint64_t *ret_ino)
{
	const char *text = json_string_value(json_object_get(r->object, member));
	char *end = NULL;

	errno = 0;
	if (text && text[0] >= '0' && text[0] <= '9')
		*ret_ino = strtoull(text, &end, 10);
	if ((!end || *end || errno) && !r->wrong)
		r->wrong = member;
}

static void get_phase(struct reader *r, const char *member, enum record_phase *ret_phase)
{
	const char *text = json_string_value(json_object_get(r->object, member));

	for (size_t i = 0; text && i < N_PHASES; i++)
		if (strcmp(phase_names[i], text) == 0) {
			*ret_phase = (enum record_phase)i;
			return;
		}
	if (!r->wrong)
		r->wrong = member;
}

static const char *disk_from_json(const json_t *object, struct record_disk *disk)
{
	struct reader r = {.object = object};

	get_text(&r, "target", false, &disk->target);
	get_path(&r, "source", false, &disk->source);
	get_text(&r, "driver", true, &disk->driver);
	get_path(&r, "image", true, &disk->image);
	get_path(&r, "temp", true, &disk->temp);
	get_ino(&r, "temp_ino", &disk->temp_ino);
	if (!r.wrong && (!disk->image != !disk->temp))
		r.wrong = "temp";
	return r.wrong;
}

static const char *disks_from_json(const json_t *array, struct record *record)
{
	const char *wrong = NULL;

	for (uint32_t i = 0; !wrong && i < record->n_disks; i++)
		wrong = disk_from_json(json_array_get(array, i), &record->disks[i]);
	/* Targets are how hydrate finds its disk: each once. */
	for (uint32_t i = 0; !wrong && i < record->n_disks; i++)
		if (record_disk_find(record, record->disks[i].target) != &record->disks[i])
			wrong = "target";
	return wrong;
}

static const char *record_from_json(const json_t *object, struct record *record)
{
	struct reader r = {.object = object};

	get_text(&r, "uri", true, &record->uri);
	get_text(&r, "uuid", true, &record->uuid);
	get_text(&r, "source", true, &record->source_name);
	get_text(&r, "source_uuid", true, &record->source_uuid);
	get_path(&r, "nvram", true, &record->nvram);
	get_flag(&r, "frozen", &record->frozen);
	get_seconds(&r, "created", &record->created_sec);
	get_phase(&r, "phase", &record->phase);
	if (!r.wrong && (!record->uri != !record->uuid))
		r.wrong = "uri";
	if (!r.wrong && record->uuid && strlen(record->uuid) != 36)
		r.wrong = "uuid";
	if (!r.wrong && record->frozen && !record->uuid)
		r.wrong = "frozen";
	return r.wrong ? r.wrong : disks_from_json(json_object_get(object, "disks"), record);
}

static int refuse(struct err *err, const char *why)
{
	return err_set(err, -EUCLEAN, "the clone's record is damaged: %s", why);
}

int record_parse(const char *text, size_t len, struct record **ret_record, struct err *err)
{
	json_error_t where;
	json_t *object = len > RECORD_BYTES_MAX
		? NULL
		: json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	const json_t *disks = json_object_get(object, "disks");
	size_t n_disks = json_array_size(disks);
	struct record *record = NULL;
	const char *wrong = NULL;
	int rc = 0;

	if (!object)
		rc = refuse(err, len > RECORD_BYTES_MAX ? "it is too large" : where.text);
	else if (json_integer_value(json_object_get(object, "record")) != RECORD_VERSION)
		rc = err_set(err, -EUCLEAN, "the clone's record is of another version of lazyclone");
	else if (!json_is_array(disks) || n_disks == 0 || n_disks > RECORD_DISKS_MAX)
		rc = refuse(err, "disks");
	else if (!(record = record_new((uint32_t)n_disks)))
		rc = err_sys(err, -ENOMEM, "cannot read the clone's record");
	else if ((wrong = record_from_json(object, record)))
		rc = refuse(err, wrong);
	json_decref(object);
	if (rc < 0) {
		record_free(record);
		return rc;
	}
	*ret_record = record;
	return 0;
}

int record_read(int dirfd, struct record **ret_record, struct err *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int rc = io_slurp(&io_kernel, dirfd, RECORD_NAME, RECORD_BYTES_MAX, &text, &len);

	if (rc == -EFBIG)
		return refuse(err, "it is too large");
	if (rc < 0)
		return err_sys(err, rc, "cannot read the clone's record");
	return record_parse(text, len, ret_record, err);
}
