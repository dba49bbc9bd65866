/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON with a checksum of itself: see sealed.h. */
#include "fs/store/sealed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/cleanup.h"
#include "fs/util/hash.h"

#define SEALED_VERSION 1
#define SEALED_SUM_TEXT 17 /* 16 digits and NUL */

/* Of the object without its checksum member. */
static int canonical_sum(json_t *object, char sum[static SEALED_SUM_TEXT])
{
	AUTO_FREE char *canonical = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);

	if (!canonical)
		return -ENOMEM;
	snprintf(sum, SEALED_SUM_TEXT, "%016" PRIx64, hash64(canonical, strlen(canonical), 0));
	return 0;
}

static int check_sum(json_t *object, struct err *err)
{
	char sum[SEALED_SUM_TEXT];
	char recorded[SEALED_SUM_TEXT];
	const char *text = json_string_value(json_object_get(object, "checksum"));

	if (!text || strlen(text) != SEALED_SUM_TEXT - 1)
		return err_set(err, -EUCLEAN, "checksum is missing");
	memcpy(recorded, text, sizeof(recorded));
	json_object_del(object, "checksum");
	if (canonical_sum(object, sum) < 0)
		return err_sys(err, -ENOMEM, "checksum");
	if (strcmp(sum, recorded) != 0)
		return err_set(err, -EUCLEAN, "damaged: checksum is %s, its text has %s", recorded,
			sum);
	return 0;
}

static int check_head(json_t *object, const char *format, struct err *err)
{
	const char *found = json_string_value(json_object_get(object, "format"));
	json_int_t version = json_integer_value(json_object_get(object, "version"));

	if (!found || strcmp(found, format) != 0)
		return err_set(err, -EUCLEAN, "not a %s", format);
	if (version > SEALED_VERSION)
		return err_set(err, -EUCLEAN,
			"made by a newer lazyclone: version %" JSON_INTEGER_FORMAT
			", this one reads up to %d",
			version, SEALED_VERSION);
	if (version < 1)
		return err_set(err, -EUCLEAN, "version is missing");
	return check_sum(object, err);
}

int sealed_parse(const char *text, size_t len, const char *format, json_t **ret_object,
	struct err *err)
{
	json_error_t problem;
	json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem);
	int rc;

	if (!object)
		return err_set(err, -EUCLEAN, "line %d: %s", problem.line, problem.text);
	if (json_is_object(object))
		rc = check_head(object, format, err);
	else
		rc = err_set(err, -EUCLEAN, "not a %s", format);
	if (rc < 0) {
		json_decref(object);
		return rc;
	}
	*ret_object = object;
	return 0;
}

bool sealed_is_newer(const char *text, size_t len)
{
	json_t *object = json_loadb(text, len, 0, NULL);
	bool newer = json_integer_value(json_object_get(object, "version")) > SEALED_VERSION;

	json_decref(object);
	return newer;
}

/* Without memory json_dumps() may leave a part out and not say so: of the text,
 * or of what the checksum was made of. */
static bool reads_back(const char *text, json_t *object)
{
	json_t *back = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	bool same = json_equal(object, back) && check_sum(back, NULL) == 0;

	json_decref(back);
	return same;
}

int sealed_format(json_t *object, const char *format, char **ret_text, size_t *ret_len)
{
	char sum[SEALED_SUM_TEXT];
	AUTO_FREE char *text = NULL;
	char *line;

	json_object_del(object, "checksum");
	if (json_object_set_new(object, "format", json_string(format)) < 0 ||
		json_object_set_new(object, "version", json_integer(SEALED_VERSION)) < 0 ||
		canonical_sum(object, sum) < 0 ||
		json_object_set_new(object, "checksum", json_string(sum)) < 0)
		return -ENOMEM;
	text = json_dumps(object, JSON_INDENT(1));
	if (!text || asprintf(&line, "%s\n", text) < 0)
		return -ENOMEM;
	if (!reads_back(line, object)) {
		free(line);
		return -ENOMEM;
	}
	*ret_text = line;
	*ret_len = strlen(line);
	return 0;
}
