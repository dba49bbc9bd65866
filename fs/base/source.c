/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a base consists of, as its caller says it: see base.h. The text is one object of JSON:
 *
 *	{"images": [{"path": "/...", "format": "qcow2", "data": "/..."}, ...],
 *	 "snapshot": "..."}
 *
 * the top first; "data" and "snapshot" are left out where there is none.
 * Members that are not known are refused: they may ask for what we would not do.
 */
#include "fs/base/source.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/text.h"

int source_new(uint32_t n_images, struct base_source **ret_source)
{
	struct base_source *source = calloc(1, sizeof(*source));

	if (!source)
		return -ENOMEM;
	source->images = calloc(n_images, sizeof(*source->images));
	if (!source->images) {
		free(source);
		return -ENOMEM;
	}
	source->n_images = n_images;
	*ret_source = source;
	return 0;
}

void base_source_free(struct base_source *source)
{
	if (!source)
		return;
	for (uint32_t i = 0; i < source->n_images; i++) {
		free(source->images[i].path);
		free(source->images[i].format);
		free(source->images[i].data_path);
	}
	free(source->images);
	free(source->snapshot);
	free(source);
}

static int copy_text(char **ret_copy, const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		return -ENOMEM;
	free(*ret_copy);
	*ret_copy = copy;
	return 0;
}

int source_set_image(struct base_source *source, uint32_t i, const char *path, const char *format,
	const char *data_path)
{
	struct base_image *image = &source->images[i];
	int rc = copy_text(&image->path, path);

	if (rc == 0)
		rc = copy_text(&image->format, format);
	return rc < 0 ? rc : copy_text(&image->data_path, data_path);
}

int source_set_snapshot(struct base_source *source, const char *snapshot)
{
	return copy_text(&source->snapshot, snapshot);
}

int source_copy(const struct base_source *source, struct base_source **ret_copy)
{
	struct base_source *copy;
	int rc = source_new(source->n_images, &copy);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < source->n_images; i++) {
		const struct base_image *image = &source->images[i];

		rc = source_set_image(copy, i, image->path, image->format, image->data_path);
	}
	if (rc == 0)
		rc = source_set_snapshot(copy, source->snapshot);
	if (rc < 0)
		base_source_free(copy);
	else
		*ret_copy = copy;
	return rc;
}

int base_source_raw(const char *path, struct base_source **ret_source)
{
	struct base_source *source;
	int rc = source_new(1, &source);

	if (rc < 0)
		return rc;
	rc = source_set_image(source, 0, path, "raw", NULL);
	if (rc < 0)
		base_source_free(source);
	else
		*ret_source = source;
	return rc;
}

bool source_is_raw(const struct base_source *source)
{
	const struct base_image *top = &source->images[0];

	return source->n_images == 1 && strcmp(top->format, "raw") == 0 && !top->data_path &&
		!source->snapshot;
}

/* ---- checks ---- */

static bool is_path(const char *path)
{
	return path[0] == '/' && strnlen(path, PATH_MAX) < PATH_MAX;
}

static const char *image_problem(const struct base_image *image)
{
	bool raw = strcmp(image->format, "raw") == 0;

	if (!is_path(image->path))
		return "the path of an image is not an absolute one";
	if (!raw && strcmp(image->format, "qcow2") != 0)
		return "the format of an image is not raw or qcow2";
	if (image->data_path && raw)
		return "a raw image has no data file";
	if (image->data_path && !is_path(image->data_path))
		return "the path of a data file is not an absolute one";
	return NULL;
}

/* Path i of the source counts 2 for each image: the image's and its data file's. */
static const char *nth_path(const struct base_source *source, uint32_t i)
{
	const struct base_image *image = &source->images[i / 2];

	return i % 2 == 0 ? image->path : image->data_path;
}

static bool has_twins(const struct base_source *source)
{
	for (uint32_t i = 0; i < 2 * source->n_images; i++) {
		const char *path = nth_path(source, i);

		for (uint32_t k = 0; path && k < i; k++) {
			const char *other = nth_path(source, k);

			if (other && strcmp(path, other) == 0)
				return true;
		}
	}
	return false;
}

static const char *problem(const struct base_source *source)
{
	const char *why = NULL;
	uint32_t last = source->n_images - 1;

	if (source->n_images == 0 || source->n_images > BASE_IMAGES_MAX)
		return "no image, or too many";
	for (uint32_t i = 0; !why && i <= last; i++) {
		why = image_problem(&source->images[i]);
		if (!why && i < last && strcmp(source->images[i].format, "raw") == 0)
			why = "an image lies below a raw one";
	}
	if (!why && has_twins(source))
		why = "the same file twice";
	if (!why && source->snapshot &&
		(source->snapshot[0] == '\0' || strlen(source->snapshot) > BASE_SNAPSHOT_MAX))
		why = "the snapshot's name is empty or too long";
	if (!why && source->snapshot && strcmp(source->images[0].format, "raw") == 0)
		why = "a raw image has no snapshots";
	return why;
}

int source_check(const struct base_source *source, const char *what, struct err *err)
{
	const char *why = problem(source);

	return why ? err_set(err, -EUCLEAN, "%s: %s", what, why) : 0;
}

bool source_is_utf8(const struct base_source *source)
{
	for (uint32_t i = 0; i < 2 * source->n_images; i++) {
		const char *path = nth_path(source, i);

		if (path && !text_is_utf8(path))
			return false;
	}
	return !source->snapshot || text_is_utf8(source->snapshot);
}

/* ---- its text ---- */

static json_t *pack_image(const struct base_image *image)
{
	if (!image->data_path)
		return json_pack("{s:s, s:s}", "path", image->path, "format", image->format);
	return json_pack("{s:s, s:s, s:s}", "path", image->path, "format", image->format, "data",
		image->data_path);
}

static json_t *pack(const struct base_source *source)
{
	json_t *object = json_object();
	json_t *images = json_array();
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < source->n_images; i++)
		rc = json_array_append_new(images, pack_image(&source->images[i]));
	if (json_object_set_new(object, "images", images) < 0)
		rc = -1;
	if (rc == 0 && source->snapshot)
		rc = json_object_set_new(object, "snapshot", json_string(source->snapshot));
	if (rc == 0)
		return object;
	json_decref(object);
	return NULL;
}

int base_source_format(const struct base_source *source, char **ret_text)
{
	json_t *object;
	char *text;

	if (!source_is_utf8(source))
		return -EILSEQ;
	object = pack(source);
	text = object ? json_dumps(object, JSON_ENSURE_ASCII) : NULL;
	json_decref(object);
	if (!text)
		return -ENOMEM;
	if (strlen(text) > BASE_SOURCE_MAX) {
		free(text);
		return -E2BIG;
	}
	*ret_text = text;
	return 0;
}

static int not_a_source(struct err *err)
{
	return err_set(err, -EUCLEAN, "source of a base: a member is missing, wrong or not known");
}

static int get_image(const json_t *json, struct base_source *source, uint32_t i, struct err *err)
{
	const char *path, *format, *data = NULL;

	if (json_unpack((json_t *)json, "{s:s, s:s, s?:s !}", "path", &path, "format", &format,
		    "data", &data) < 0)
		return not_a_source(err);
	return source_set_image(source, i, path, format, data) < 0
		? err_sys(err, -ENOMEM, "source of a base") : 0;
}

static int get_all(const json_t *images, const char *snapshot, struct base_source *source,
	struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < source->n_images; i++)
		rc = get_image(json_array_get(images, i), source, i, err);
	if (rc == 0 && source_set_snapshot(source, snapshot) < 0)
		return err_sys(err, -ENOMEM, "source of a base");
	return rc < 0 ? rc : source_check(source, "source of a base", err);
}

static int get_source(json_t *json, struct base_source **ret_source, struct err *err)
{
	struct base_source *source;
	const char *snapshot = NULL;
	json_t *images;
	int rc;

	if (json_unpack(json, "{s:o, s?:s !}", "images", &images, "snapshot", &snapshot) < 0 ||
		json_array_size(images) == 0 || json_array_size(images) > BASE_IMAGES_MAX)
		return not_a_source(err);
	if (source_new((uint32_t)json_array_size(images), &source) < 0)
		return err_sys(err, -ENOMEM, "source of a base");
	rc = get_all(images, snapshot, source, err);
	if (rc < 0)
		base_source_free(source);
	else
		*ret_source = source;
	return rc;
}

int base_source_parse(const char *text, struct base_source **ret_source, struct err *err)
{
	size_t len = strnlen(text, BASE_SOURCE_MAX + 1);
	json_t *json;
	int rc;

	if (len > BASE_SOURCE_MAX)
		return err_set(err, -EUCLEAN, "source of a base: longer than %d bytes",
			BASE_SOURCE_MAX);
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		return err_set(err, -EUCLEAN, "source of a base: not a JSON object");
	}
	rc = get_source(json, ret_source, err);
	json_decref(json);
	return rc;
}
