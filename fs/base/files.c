/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking an identity apart by files, and moving one of them: see files.h. */
#include "fs/base/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/identity-text.h"
#include "fs/base/identity.h"
#include "fs/base/locks.h"
#include "fs/base/raw.h"
#include "fs/base/source.h"
#include "fs/util/cleanup.h"
#include "fs/util/hash.h"

/* The identity of one file as the text of a base that consists of it. */
static int format_alone(const char *path, const struct identity *id, char **ret_text)
{
	struct base_source *source;
	struct known *known;
	int rc = base_source_raw(path, &source);

	if (rc == 0)
		rc = known_new(source, &known);
	if (rc < 0)
		return rc;
	known->images[0] = *id;
	rc = known_format(known, ret_text);
	known_free(known);
	return rc;
}

/* ctime moves with every chown, so it is no part of the id. */
static int id_of(const char *path, const struct identity *id, char text[static BASE_FILE_ID])
{
	struct identity lasting = *id;
	AUTO_FREE char *alone = NULL;
	int rc;

	lasting.changed = (struct moment){0};
	rc = format_alone(path, &lasting, &alone);
	if (rc == 0)
		snprintf(text, BASE_FILE_ID, "%016" PRIx64, hash64(alone, strlen(alone), 0));
	return rc;
}

static int fill(struct base_file *file, const char *path, const char *format,
	const struct identity *id)
{
	int rc;

	file->device = id->device;
	file->size_bytes = id->size_bytes;
	file->path = strdup(path);
	file->format = strdup(format);
	if (!file->path || !file->format)
		return -ENOMEM;
	rc = format_alone(path, id, &file->identity);
	return rc < 0 ? rc : id_of(path, id, file->id);
}

static int take_apart(const struct known *known, struct base_file *files, uint32_t *count)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < known->source->n_images; i++) {
		const struct base_image *image = &known->source->images[i];

		rc = fill(&files[(*count)++], image->path, image->format, &known->images[i]);
		if (rc < 0 || !image->data_path)
			continue;
		files[*count].data = true;
		rc = fill(&files[(*count)++], image->data_path, "raw", &known->data[i]);
	}
	return rc;
}

int base_files(const char *path, const char *identity, struct base_file **ret_files,
	uint32_t *ret_count, struct err *err)
{
	struct base_file *files;
	struct known *known;
	uint32_t count = 0;
	int rc = known_parse(path, identity, &known, err);

	if (rc < 0)
		return rc;
	files = calloc(2 * (size_t)known->source->n_images, sizeof(*files));
	rc = files ? take_apart(known, files, &count) : -ENOMEM;
	known_free(known);
	if (rc < 0) {
		base_files_free(files, count);
		return err_sys(err, rc, "base %s", path);
	}
	*ret_files = files;
	*ret_count = count;
	return 0;
}

void base_files_free(struct base_file *files, uint32_t count)
{
	for (uint32_t i = 0; files && i < count; i++) {
		free(files[i].path);
		free(files[i].format);
		free(files[i].identity);
	}
	free(files);
}

/* ---- what is there now ---- */

static int compare(const struct base_file *file, const struct identity *recorded,
	const struct raw *raw, struct err *err)
{
	char why[IDENTITY_WHY_MAX];
	int rc = identity_compare(recorded, raw, why);

	if (rc == -ESTALE)
		return err_set(err, rc, "base %s: %s", file->path, why);
	return rc < 0 ? err_sys(err, rc, "base %s: cannot be compared", file->path) : 0;
}

int base_file_check(const struct base_file *file, struct err *err)
{
	struct raw raw = {.fd = -1};
	struct known *known;
	int rc = known_parse(file->path, file->identity, &known, err);

	if (rc < 0)
		return rc;
	rc = raw_open(file->path, &raw, err);
	if (rc == -ENOENT || rc == -ENOTDIR)
		rc = err_set(err, -ESTALE, "base %s: is not there any more (moved or deleted)",
			file->path);
	else if (rc == 0)
		rc = compare(file, &known->images[0], &raw, err);
	close_fd(&raw.fd);
	known_free(known);
	return rc;
}

static int identify(const char *path, struct identity *ret_identity, struct err *err)
{
	struct raw raw = {.fd = -1};
	int rc = raw_open(path, &raw, err);

	if (rc < 0)
		return rc;
	rc = locks_test(raw.fd, path, err);
	if (rc == 0) {
		rc = identity_take(&raw, ret_identity);
		if (rc < 0)
			err_sys(err, rc, "%s: cannot be read", path);
	}
	close_fd(&raw.fd);
	return rc;
}

int base_file_same_sample(const struct base_file *file, const char *path, struct err *err)
{
	struct identity now;
	struct known *known;
	bool same;
	int rc = identify(path, &now, err);

	if (rc == 0)
		rc = known_parse(file->path, file->identity, &known, err);
	if (rc < 0)
		return rc;
	same = known->images[0].size_bytes == now.size_bytes &&
		known->images[0].sample == now.sample;
	known_free(known);
	return same ? 0 : err_set(err, -ESTALE, "%s does not hold what %s held", path, file->path);
}

/* ---- moving ---- */

static int replace_path(char **path, const char *with)
{
	char *copy = strdup(with);

	if (!copy)
		return -ENOMEM;
	free(*path);
	*path = copy;
	return 0;
}

/* Wherever it is one of the files. Number of places, or -errno. */
static int move(struct known *known, const char *from, const char *to, const struct identity *now)
{
	int places = 0, rc = 0;

	for (uint32_t i = 0; rc == 0 && i < known->source->n_images; i++) {
		struct base_image *image = &known->source->images[i];

		if (strcmp(image->path, from) == 0) {
			rc = replace_path(&image->path, to);
			known->images[i] = *now;
			places++;
		}
		if (rc == 0 && image->data_path && strcmp(image->data_path, from) == 0) {
			rc = replace_path(&image->data_path, to);
			known->data[i] = *now;
			places++;
		}
	}
	return rc < 0 ? rc : places;
}

static int put_together(const struct known *known, char **ret_path, char **ret_identity)
{
	AUTO_FREE char *path = strdup(known->source->images[0].path);
	int rc = path ? known_format(known, ret_identity) : -ENOMEM;

	if (rc == 0)
		*ret_path = steal_ptr(&path);
	return rc;
}

int base_files_move(const char *path, const char *identity, const char *from, const char *to,
	char **ret_path, char **ret_identity, struct err *err)
{
	struct identity now;
	struct known *known;
	int rc = known_parse(path, identity, &known, err);

	if (rc < 0)
		return rc;
	rc = identify(to, &now, err);
	if (rc < 0) {
		known_free(known);
		return rc;
	}
	rc = move(known, from, to, &now);
	if (rc == 0)
		err_set(err, rc = -ENOENT, "base %s: %s is no file of it", path, from);
	else if (rc > 0 && (rc = put_together(known, ret_path, ret_identity)) < 0)
		err_sys(err, rc, "base %s", path);
	else if (rc < 0)
		err_sys(err, rc, "base %s", path);
	known_free(known);
	return rc;
}
