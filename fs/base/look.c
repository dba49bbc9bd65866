/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking at images without holding them: base_identify() and base_wants(). */
#include "fs/base/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/identity-text.h"
#include "fs/base/identity.h"
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

static int identify_image(struct known *known, uint32_t i, uint64_t *ret_size_bytes,
	struct err *err)
{
	const struct base_image *image = &known->source->images[i];
	struct raw raw;
	int rc = identify_file(image->path, &known->images[i], &raw, err);

	if (rc < 0)
		return rc;
	if (strcmp(image->format, "raw") == 0)
		*ret_size_bytes = known->images[i].size_bytes;
	else
		rc = err_set(err, -EOPNOTSUPP, "base %s: no reader of %s images", image->path,
			image->format);
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
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < known->source->n_images; i++) {
		uint64_t size_bytes = 0;

		rc = identify_image(known, i, &size_bytes, err);
		if (rc == 0 && i == 0)
			*ret_size_bytes = size_bytes;
	}
	if (rc == 0)
		rc = names_check_twins(known->source, err);
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

int base_wants(const char *path, const char *format, struct base_wants *ret_wants, struct err *err)
{
	struct raw raw;
	int rc;

	if (strcmp(format, "raw") != 0)
		return err_set(err, -EOPNOTSUPP, "%s: no reader of %s images", path, format);
	rc = raw_open(path, &raw, err);
	if (rc < 0)
		return rc;
	*ret_wants = (struct base_wants){.size_bytes = raw.size_bytes};
	close_fd(&raw.fd);
	return 0;
}
