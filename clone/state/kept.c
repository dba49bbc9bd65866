/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which kept NVRAM copy belongs to which instant: see kept.h.
 *
 *	{"kept": 1, "entries": [{"name": TEXT | null, "base": BOOL, "logs": [ID ...],
 *	    "file": NAME | null}]}
 */
#include "clone/state/kept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "clone/state/record.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"

#define KEPT_VERSION 1
#define COPY_PREFIX "nvram."

struct kept *kept_new(void)
{
	return calloc(1, sizeof(struct kept));
}

static void clear_entry(struct kept_entry *entry)
{
	free(entry->name);
	free(entry->logs);
	free(entry->file);
	memset(entry, 0, sizeof(*entry));
}

void kept_free(struct kept *kept)
{
	if (!kept)
		return;
	for (uint32_t i = 0; i < kept->count; i++)
		clear_entry(&kept->entries[i]);
	free(kept->entries);
	free(kept);
}

/* ---- names of copies ---- */

void kept_file_new(char file[static KEPT_FILE_TEXT])
{
	struct id id = id_new();

	strcpy(file, COPY_PREFIX);
	id_format(&id, file + strlen(COPY_PREFIX));
}

bool kept_file_is_copy(const char *file)
{
	struct id id;

	return strncmp(file, COPY_PREFIX, strlen(COPY_PREFIX)) == 0 &&
		strlen(file) == KEPT_FILE_TEXT - 1 && id_parse(file + strlen(COPY_PREFIX), &id) == 0;
}

/* ---- entries ---- */

static bool copy_text(char **field, const char *text)
{
	*field = text ? strdup(text) : NULL;
	return *field || !text;
}

static bool copy_entry(struct kept_entry *to, const struct kept_entry *from)
{
	*to = (struct kept_entry){.base = from->base, .n_logs = from->n_logs};
	to->logs = calloc((size_t)from->n_logs + 1, sizeof(*to->logs));
	if (to->logs && from->n_logs > 0)
		memcpy(to->logs, from->logs, from->n_logs * sizeof(*to->logs));
	if (to->logs && copy_text(&to->name, from->name) && copy_text(&to->file, from->file))
		return true;
	clear_entry(to);
	return false;
}

int kept_add(struct kept *kept, const struct kept_entry *entry)
{
	struct kept_entry *grown;

	if (kept->count == KEPT_ENTRIES_MAX || entry->n_logs > KEPT_LOGS_MAX)
		return -EMLINK;
	grown = reallocarray(kept->entries, kept->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	kept->entries = grown;
	if (!copy_entry(&grown[kept->count], entry))
		return -ENOMEM;
	kept->count++;
	return 0;
}

static bool names_log(const struct kept_entry *entry, const struct id *log)
{
	for (uint32_t i = 0; i < entry->n_logs; i++)
		if (id_equal(&entry->logs[i], log))
			return true;
	return false;
}

const struct kept_entry *kept_of_name(const struct kept *kept, const char *name)
{
	for (uint32_t i = kept->count; i > 0; i--)
		if (kept->entries[i - 1].name && strcmp(kept->entries[i - 1].name, name) == 0)
			return &kept->entries[i - 1];
	return NULL;
}

/* The last entry that names the log. */
static const struct kept_entry *last_of_log(const struct kept *kept, const struct id *log)
{
	for (uint32_t i = kept->count; i > 0; i--)
		if (names_log(&kept->entries[i - 1], log))
			return &kept->entries[i - 1];
	return NULL;
}

const struct kept_entry *kept_of_tops(const struct kept *kept, const struct id *tops, uint32_t n)
{
	const struct kept_entry *last = NULL;

	for (uint32_t i = 0; i < n; i++) {
		const struct kept_entry *entry = last_of_log(kept, &tops[i]);

		/* A layer that lazyclone-fsck wrote anew: which instant it is of is not known. */
		if (!entry)
			return NULL;
		if (!last || entry > last)
			last = entry;
	}
	return last;
}

const struct kept_entry *kept_of_base(const struct kept *kept)
{
	for (uint32_t i = 0; i < kept->count; i++)
		if (kept->entries[i].base)
			return &kept->entries[i];
	return NULL;
}

bool kept_names_file(const struct kept *kept, const char *file)
{
	for (uint32_t i = 0; i < kept->count; i++)
		if (kept->entries[i].file && strcmp(kept->entries[i].file, file) == 0)
			return true;
	return false;
}

static bool belongs(const struct kept_entry *entry, const struct kept_view *view)
{
	if (entry->base || entry->name)
		return true;
	for (uint32_t i = 0; i < entry->n_logs; i++)
		if (view->has_layer(view->ctx, &entry->logs[i]))
			return true;
	return false;
}

bool kept_prune(struct kept *kept, const struct kept_view *view)
{
	bool changed = false;
	uint32_t n = 0;

	for (uint32_t i = 0; i < kept->count; i++) {
		struct kept_entry *entry = &kept->entries[i];

		if (entry->name && !view->has_name(view->ctx, entry->name)) {
			free(steal_ptr(&entry->name));
			changed = true;
		}
		if (belongs(entry, view)) {
			struct kept_entry stays = *entry;

			memset(entry, 0, sizeof(*entry));
			kept->entries[n++] = stays;
		} else {
			clear_entry(entry);
			changed = true;
		}
	}
	kept->count = n;
	return changed;
}

/* ---- writing ---- */

static bool put(json_t *object, const char *member, json_t *value)
{
	return json_object_set_new(object, member, value) == 0;
}

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *logs_to_json(const struct kept_entry *entry)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < entry->n_logs; i++) {
		char text[ID_TEXT];

		id_format(&entry->logs[i], text);
		if (json_array_append_new(array, json_string(text)) == 0)
			continue;
		json_decref(array);
		return NULL;
	}
	return array;
}

static json_t *entry_to_json(const struct kept_entry *entry)
{
	json_t *object = json_object();

	if (object && put(object, "name", text_or_null(entry->name)) &&
		put(object, "base", json_boolean(entry->base)) &&
		put(object, "logs", logs_to_json(entry)) &&
		put(object, "file", text_or_null(entry->file)))
		return object;
	json_decref(object);
	return NULL;
}

static json_t *entries_to_json(const struct kept *kept)
{
	json_t *array = json_array();

	for (uint32_t i = 0; array && i < kept->count; i++) {
		if (json_array_append_new(array, entry_to_json(&kept->entries[i])) == 0)
			continue;
		json_decref(array);
		return NULL;
	}
	return array;
}

int kept_format(const struct kept *kept, char **ret_text)
{
	json_t *object = json_object();
	char *text = NULL;

	if (object && put(object, "kept", json_integer(KEPT_VERSION)) &&
		put(object, "entries", entries_to_json(kept)))
		text = json_dumps(object, JSON_INDENT(1));
	json_decref(object);
	if (!text)
		return -EILSEQ; /* a name that is not UTF-8; or no memory */
	*ret_text = text;
	return 0;
}

static int write_with(int (*write)(const struct io_gate *, int, const char *, const void *, size_t,
			      mode_t),
	int dirfd, const struct kept *kept, struct err *err)
{
	AUTO_FREE char *text = NULL;
	int rc = kept_format(kept, &text);

	if (rc == 0)
		rc = write(&io_kernel, dirfd, KEPT_NAME, text, strlen(text), 0600);
	return rc < 0 ? err_sys(err, rc, "cannot write which NVRAM copies the clone keeps") : 0;
}

int kept_write(int dirfd, const struct kept *kept, struct err *err)
{
	return write_with(io_publish, dirfd, kept, err);
}

int kept_write_new(int dirfd, const struct kept *kept, struct err *err)
{
	return write_with(io_write_file, dirfd, kept, err);
}

/* ---- reading ---- */

/* NULL stays NULL; false: neither null nor a short text. */
static bool get_text(const json_t *object, const char *member, char **ret_text)
{
	const json_t *value = json_object_get(object, member);
	size_t len = json_string_length(value);

	if (json_is_null(value))
		return true;
	if (!json_is_string(value) || len == 0 || len > KEPT_TEXT_MAX ||
		strlen(json_string_value(value)) != len)
		return false;
	*ret_text = strdup(json_string_value(value));
	return *ret_text;
}

static bool get_logs(const json_t *array, struct kept_entry *entry)
{
	size_t n = json_array_size(array);

	if (!json_is_array(array) || n > KEPT_LOGS_MAX)
		return false;
	entry->logs = calloc(n + 1, sizeof(*entry->logs));
	if (!entry->logs)
		return false;
	for (; entry->n_logs < n; entry->n_logs++) {
		const char *text = json_string_value(json_array_get(array, entry->n_logs));

		if (!text || id_parse(text, &entry->logs[entry->n_logs]) < 0)
			return false;
	}
	return true;
}

/* A file name that is none of ours could lead out of the directory. */
static bool file_is_ours(const char *file)
{
	return !file || strcmp(file, RECORD_NVRAM) == 0 || kept_file_is_copy(file);
}

static bool entry_from_json(const json_t *object, struct kept_entry *entry)
{
	const json_t *base = json_object_get(object, "base");

	entry->base = json_is_true(base);
	return json_is_boolean(base) && get_text(object, "name", &entry->name) &&
		get_text(object, "file", &entry->file) && file_is_ours(entry->file) &&
		get_logs(json_object_get(object, "logs"), entry);
}

static int refuse(struct err *err, const char *why)
{
	return err_set(err, -EUCLEAN, "%s of the clone is damaged: %s", KEPT_NAME, why);
}

static int entries_from_json(const json_t *array, struct kept *kept, struct err *err)
{
	size_t n = json_array_size(array);

	if (!json_is_array(array) || n > KEPT_ENTRIES_MAX)
		return refuse(err, "entries");
	kept->entries = calloc(n + 1, sizeof(*kept->entries));
	if (!kept->entries)
		return err_sys(err, -ENOMEM, "cannot read %s", KEPT_NAME);
	while (kept->count < n) {
		const json_t *object = json_array_get(array, kept->count);

		if (!entry_from_json(object, &kept->entries[kept->count++]))
			return refuse(err, "an entry");
	}
	return 0;
}

int kept_parse(const char *text, size_t len, struct kept **ret_kept, struct err *err)
{
	json_t *object =
		len > KEPT_BYTES_MAX ? NULL : json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	struct kept *kept = kept_new();
	int rc = kept ? 0 : err_sys(err, -ENOMEM, "cannot read %s", KEPT_NAME);

	if (rc == 0 && !object)
		rc = refuse(err, "it is no JSON, or too large");
	if (rc == 0 && json_integer_value(json_object_get(object, "kept")) != KEPT_VERSION)
		rc = refuse(err, "it is of another version of lazyclone");
	if (rc == 0)
		rc = entries_from_json(json_object_get(object, "entries"), kept, err);
	json_decref(object);
	if (rc < 0) {
		kept_free(kept);
		return rc;
	}
	*ret_kept = kept;
	return 0;
}

int kept_read(int dirfd, struct kept **ret_kept, struct err *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int rc = io_slurp(&io_kernel, dirfd, KEPT_NAME, KEPT_BYTES_MAX, &text, &len);

	if (rc == -ENOENT) {
		*ret_kept = kept_new();
		return *ret_kept ? 0 : err_sys(err, -ENOMEM, "cannot read %s", KEPT_NAME);
	}
	if (rc == -EFBIG)
		return refuse(err, "it is too large");
	return rc < 0 ? err_sys(err, rc, "cannot read %s", KEPT_NAME)
		      : kept_parse(text, len, ret_kept, err);
}
