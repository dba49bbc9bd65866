/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking at images without holding them: base_identify() and base_wants(). */
#include "fs/base/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/identity-text.h"
#include "fs/base/identity.h"
#include "fs/base/image.h"
#include "fs/base/locks.h"
#include "fs/base/names.h"
#include "fs/base/raw.h"
#include "fs/base/source.h"
#include "fs/util/cleanup.h"

/* The identity of one file, which nobody may have open for writing. */
static int identify_file(const char *path, struct identity *ret_identity, struct raw *ret_raw,
	struct err *err)
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
	if (rc < 0)
		close_fd(&raw.fd);
	else
		*ret_raw = raw;
	return rc;
}

/* ---- the bytes of an open file, for the reader of a format ---- */

static int read_raw(void *of, void *buf, size_t len, uint64_t off, bool nowait)
{
	return raw_read(of, buf, len, off, nowait);
}

static bool all_data(void *of, uint64_t off, uint64_t len, uint64_t *ret_run)
{
	*ret_run = len;
	return false;
}

static struct bytes bytes_of(struct raw *raw)
{
	return (struct bytes){
		.of = raw, .size_bytes = raw->size_bytes, .read = read_raw, .hole = all_data};
}

/* ---- identities ---- */

/* What its header says: the size, and whether it asks for the files it was given. */
static int look_inside(const struct base_source *source, uint32_t i, struct raw *raw,
	uint64_t *ret_size_bytes, struct err *err)
{
	const struct base_image *image = &source->images[i];
	struct bytes bytes = bytes_of(raw);
	struct qcow2 *qcow2;
	int rc;

	*ret_size_bytes = raw->size_bytes;
	if (strcmp(image->format, "raw") == 0)
		return 0;
	rc = image_open_qcow2(
		&bytes, image->path, i == 0 ? source->snapshot : NULL, &qcow2, err);
	if (rc < 0)
		return rc;
	*ret_size_bytes = qcow2_info(qcow2)->size_bytes;
	rc = names_check(source, i, qcow2_info(qcow2), err);
	qcow2_close(qcow2);
	return rc < 0 ? rc : image_check_size(image->path, *ret_size_bytes, err);
}

static int identify_image(struct known *known, uint32_t i, uint64_t *ret_size_bytes,
	struct err *err)
{
	const struct base_image *image = &known->source->images[i];
	struct raw raw;
	int rc = identify_file(image->path, &known->images[i], &raw, err);

	if (rc < 0)
		return rc;
	rc = look_inside(known->source, i, &raw, ret_size_bytes, err);
	close_fd(&raw.fd);
	if (rc < 0 || !image->data_path)
		return rc;
	rc = identify_file(image->data_path, &known->data[i], &raw, err);
	if (rc == 0)
		close_fd(&raw.fd);
	return rc;
}

static int identify(struct known *known, char **ret_identity, uint64_t *ret_size_bytes,
	struct err *err)
{
	int rc = names_check_twins(known->source, err);

	for (uint32_t i = 0; rc == 0 && i < known->source->n_images; i++) {
		uint64_t size_bytes = 0;

		rc = identify_image(known, i, &size_bytes, err);
		if (rc == 0 && i == 0)
			*ret_size_bytes = size_bytes;
	}
	if (rc < 0)
		return rc;
	rc = known_format(known, ret_identity);
	return rc < 0 ? err_sys(err, rc, "%s: its identity", known->source->images[0].path) : 0;
}

int base_identify(const struct base_source *source, char **ret_identity,
	uint64_t *ret_size_bytes, struct err *err)
{
	struct base_source *copy;
	struct known *known;
	int rc = source_check(source, "source of a base", err);

	if (rc < 0)
		return rc;
	rc = source_copy(source, &copy);
	if (rc == 0)
		rc = known_new(copy, &known);
	if (rc < 0)
		return err_sys(err, rc, "%s", source->images[0].path);
	rc = identify(known, ret_identity, ret_size_bytes, err);
	known_free(known);
	return rc;
}

void base_wants_clear(struct base_wants *wants)
{
	free(wants->backing_path);
	free(wants->backing_format);
	free(wants->data_path);
	*wants = (struct base_wants){0};
}

static int wants_of(const char *path, const struct qcow2_info *info, struct base_wants *wants,
	struct err *err)
{
	int rc = 0;

	wants->size_bytes = info->size_bytes;
	if (info->backing_name)
		rc = names_resolve(path, info->backing_name, &wants->backing_path, err);
	if (rc == 0 && info->data_name)
		rc = names_resolve(path, info->data_name, &wants->data_path, err);
	if (rc < 0 || !info->backing_format)
		return rc;
	wants->backing_format = strdup(info->backing_format);
	return wants->backing_format ? 0 : err_sys(err, -ENOMEM, "%s", path);
}

static int read_header(const char *path, struct raw *raw, struct base_wants *wants,
	struct err *err)
{
	struct bytes bytes = bytes_of(raw);
	struct qcow2 *qcow2;
	int rc = image_open_qcow2(&bytes, path, NULL, &qcow2, err);

	if (rc < 0)
		return rc;
	rc = wants_of(path, qcow2_info(qcow2), wants, err);
	qcow2_close(qcow2);
	return rc;
}

int base_wants(const char *path, const char *format, struct base_wants *ret_wants, struct err *err)
{
	struct base_wants wants = {0};
	struct raw raw;
	int rc;

	if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
		return err_set(err, -EOPNOTSUPP, "%s: not a raw or qcow2 image but %s", path, format);
	rc = raw_open(path, &raw, err);
	if (rc < 0)
		return rc;
	wants.size_bytes = raw.size_bytes;
	if (strcmp(format, "qcow2") == 0)
		rc = read_header(path, &raw, &wants, err);
	close_fd(&raw.fd);
	if (rc < 0)
		base_wants_clear(&wants);
	else
		*ret_wants = wants;
	return rc;
}
