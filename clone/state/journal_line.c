/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Journal lines as JSON objects, and back: see journal.h. */
#include "clone/state/journal_line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "fs/util/cleanup.h"

/* What each kind is called, and what it carries. */
static const struct {
	const char *what;
	const char *name; /* member that holds entry.name; NULL: it has none */
	const char *more;
	const char *dev; /* members that hold entry.dev and .ino */
	const char *ino;
} kinds[] = {
	[JOURNAL_GROUP] = {"group", NULL, NULL, NULL, NULL},
	[JOURNAL_STAGE] = {"stage", "name", NULL, NULL, NULL},
	[JOURNAL_CLONE] = {"clone", "name", "id", NULL, NULL},
	[JOURNAL_FILE] = {"file", "path", NULL, NULL, NULL},
	[JOURNAL_FILE_MADE] = {"file-made", "path", NULL, "dev", "ino"},
	[JOURNAL_DOMAIN] = {"domain", "uuid", "uri", NULL, NULL},
	[JOURNAL_FREEZE] = {"freeze", "uuid", "uri", NULL, NULL},
	[JOURNAL_RESET] = {"reset", "name", "id", "before", "nvram"},
	[JOURNAL_QUIESCE] = {"quiesce", "uuid", "uri", NULL, NULL},
	[JOURNAL_MODES] = {"modes", NULL, NULL, NULL, NULL},
	[JOURNAL_DONE] = {"done", NULL, NULL, NULL, NULL},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int put_text(json_t *object, const char *member, const char *text)
{
	if (!member)
		return 0;
	return json_object_set_new(object, member, json_string(text)) < 0 ? -EILSEQ : 0;
}

/* As text: JSON's integers have a sign and an inode number has none. */
static int put_number(json_t *object, const char *member, uint64_t value)
{
	char text[24];

	if (!member)
		return 0;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return put_text(object, member, text);
}

int journal_line(const struct journal_entry *entry, char **ret_line)
{
	json_t *object = json_object();
	AUTO_FREE char *text = NULL;
	int rc = object ? 0 : -ENOMEM;

	if (rc == 0)
		rc = put_text(object, "what", kinds[entry->kind].what);
	if (rc == 0)
		rc = put_text(object, kinds[entry->kind].name, entry->name);
	if (rc == 0)
		rc = put_text(object, kinds[entry->kind].more, entry->more);
	if (rc == 0)
		rc = put_number(object, kinds[entry->kind].dev, entry->dev);
	if (rc == 0)
		rc = put_number(object, kinds[entry->kind].ino, entry->ino);
	if (rc == 0 && !(text = json_dumps(object, JSON_COMPACT)))
		rc = -ENOMEM;
	if (rc == 0 && asprintf(ret_line, "%s\n", text) < 0)
		rc = -ENOMEM;
	json_decref(object);
	return rc;
}

static bool get_text(const json_t *object, const char *member, char **ret_text)
{
	const char *text;

	if (!member)
		return true;
	text = json_string_value(json_object_get(object, member));
	if (!text || !text[0])
		return false;
	*ret_text = strdup(text);
	return *ret_text;
}

static bool get_number(const json_t *object, const char *member, uint64_t *ret_value)
{
	const char *text;
	char *end;

	if (!member)
		return true;
	text = json_string_value(json_object_get(object, member));
	if (!text || text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*ret_value = strtoull(text, &end, 10);
	return errno == 0 && !*end;
}

static bool parse_object(const json_t *object, struct journal_entry *entry)
{
	const char *what = json_string_value(json_object_get(object, "what"));
	size_t kind = 0;

	while (what && kind < N_KINDS && strcmp(kinds[kind].what, what) != 0)
		kind++;
	if (!what || kind == N_KINDS)
		return false;
	entry->kind = (enum journal_kind)kind;
	if (!get_text(object, kinds[kind].name, &entry->name) ||
		!get_text(object, kinds[kind].more, &entry->more))
		return false;
	return get_number(object, kinds[kind].dev, &entry->dev) &&
		get_number(object, kinds[kind].ino, &entry->ino);
}

static bool parse_line(const char *line, size_t len, struct journal_entry *entry)
{
	json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	bool ok = object && parse_object(object, entry);

	json_decref(object);
	if (!ok) {
		free(entry->name);
		free(entry->more);
		memset(entry, 0, sizeof(*entry));
	}
	return ok;
}

static uint32_t count_lines(const char *text, size_t len)
{
	uint32_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += text[i] == '\n';
	return n;
}

void journal_entries_free(struct journal_entry *entries, uint32_t count)
{
	for (uint32_t i = 0; entries && i < count; i++) {
		free(entries[i].name);
		free(entries[i].more);
	}
	free(entries);
}

int journal_parse(const char *text, size_t len, struct journal_entry **ret_entries,
	uint32_t *ret_count, size_t *ret_good, struct err *err)
{
	uint32_t lines = len > JOURNAL_BYTES_MAX ? 0 : count_lines(text, len);
	struct journal_entry *entries;
	size_t at = 0;

	if (len > JOURNAL_BYTES_MAX)
		return err_set(err, -EUCLEAN, "it is larger than a journal can be");
	entries = calloc((size_t)lines + 1, sizeof(*entries));
	if (!entries)
		return err_sys(err, -ENOMEM, "cannot read it");
	for (uint32_t i = 0; i < lines; i++) {
		size_t line = (size_t)((const char *)memchr(text + at, '\n', len - at) - (text + at));

		if (!parse_line(text + at, line, &entries[i])) {
			journal_entries_free(entries, i);
			return err_set(err, -EUCLEAN, "line %u is no journal entry", i + 1);
		}
		at += line + 1;
	}
	*ret_entries = entries;
	*ret_count = lines;
	*ret_good = at;
	return 0;
}
