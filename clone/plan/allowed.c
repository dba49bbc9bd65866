/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that the user allows: see allowed.h. */
#include "clone/plan/allowed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/util/cleanup.h"

static const char *const formats[] = {"raw", "qcow2"};

/* What follows the last colon, if it is a format. */
static const char *find_format(const char *text)
{
	const char *colon = strrchr(text, ':');

	for (size_t i = 0; colon && i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strcmp(colon + 1, formats[i]) == 0)
			return formats[i];
	return NULL;
}

static int parse_file(const char *text, bool data, struct allowed_file *file, struct err *err)
{
	const char *format = data ? NULL : find_format(text);
	size_t len = format ? (size_t)(strrchr(text, ':') - text) : strlen(text);
	AUTO_FREE char *name = strndup(text, len);

	*file = (struct allowed_file){.text = text, .format = format, .data = data};
	if (!name)
		return err_sys(err, -ENOMEM, "%s", text);
	file->path = realpath(name, NULL);
	if (!file->path)
		return err_sys(err, -errno, "--%s %s", data ? "data-file" : "backing", text);
	return 0;
}

int allowed_parse(const char *const *backings, uint32_t n_backings, const char *const *data_files,
	uint32_t n_data_files, struct allowed *ret_allowed, struct err *err)
{
	struct allowed allowed = {.n_files = 0};
	int rc = 0;

	allowed.files = calloc((size_t)n_backings + n_data_files + 1, sizeof(*allowed.files));
	if (!allowed.files)
		return err_sys(err, -ENOMEM, "--backing");
	for (uint32_t i = 0; rc == 0 && i < n_backings; i++)
		rc = parse_file(backings[i], false, &allowed.files[allowed.n_files++], err);
	for (uint32_t i = 0; rc == 0 && i < n_data_files; i++)
		rc = parse_file(data_files[i], true, &allowed.files[allowed.n_files++], err);
	if (rc < 0)
		allowed_clear(&allowed);
	else
		*ret_allowed = allowed;
	return rc;
}

void allowed_clear(struct allowed *allowed)
{
	for (uint32_t i = 0; i < allowed->n_files; i++)
		free(allowed->files[i].path);
	free(allowed->files);
	memset(allowed, 0, sizeof(*allowed));
}

bool allowed_same(const char *a, const char *b)
{
	struct stat sa, sb;

	if (strcmp(a, b) == 0)
		return true;
	if (stat(a, &sa) < 0 || stat(b, &sb) < 0)
		return false;
	/* A device may have several nodes. */
	if (S_ISBLK(sa.st_mode) && S_ISBLK(sb.st_mode))
		return sa.st_rdev == sb.st_rdev;
	return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

const struct allowed_file *allowed_find(struct allowed *allowed, const char *path, bool data)
{
	for (uint32_t i = 0; i < allowed->n_files; i++) {
		struct allowed_file *file = &allowed->files[i];

		if (file->data == data && allowed_same(file->path, path)) {
			file->used = true;
			return file;
		}
	}
	return NULL;
}

int allowed_check_used(const struct allowed *allowed, struct err *err)
{
	for (uint32_t i = 0; i < allowed->n_files; i++) {
		const struct allowed_file *file = &allowed->files[i];

		if (file->used)
			continue;
		err_set(err, -EINVAL, "--%s %s: no image to clone asks for that file",
			file->data ? "data-file" : "backing", file->text);
		err_hint(err, "leave the option out, or look what the image asks for: qemu-img info");
		return -EINVAL;
	}
	return 0;
}
