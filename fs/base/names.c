/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Comparing the names in images with what the caller of a base said: see names.h. */
#include "fs/base/names.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/util/cleanup.h"
#include "fs/util/text.h"

/* "nbd:...", "json:{...}": a word before a colon that no slash precedes. */
static bool names_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

int names_resolve(const char *image_path, const char *name, char **ret_path, struct err *err)
{
	const char *slash = strrchr(image_path, '/');
	int dir_len = slash && name[0] != '/' ? (int)(slash + 1 - image_path) : 0;

	if (!text_is_plain(name) || name[0] == '\0')
		return err_set(err, -EOPNOTSUPP, "%s: names a file that is no plain text",
			image_path);
	if (names_protocol(name)) {
		err_set(err, -EOPNOTSUPP, "%s: needs \"%s\", which is not the name of a file",
			image_path, name);
		err_hint(err, "`qemu-img rebase -u -b FILE` gives it a file's name");
		return -EOPNOTSUPP;
	}
	if (asprintf(ret_path, "%.*s%s", dir_len, image_path, name) < 0)
		return err_sys(err, -ENOMEM, "%s", image_path);
	if (strlen(*ret_path) < PATH_MAX)
		return 0;
	free(*ret_path);
	return err_set(err, -EOPNOTSUPP, "%s: names a file with too long a path", image_path);
}

static bool stat_same(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) || S_ISBLK(b->st_mode))
		return S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	return strcmp(a, b) == 0 ||
		(stat(a, &sa) == 0 && stat(b, &sb) == 0 && stat_same(&sa, &sb));
}

/* One name: of the backing image or the data file; allowed: the path of that one, or NULL. */
static int check_name(const char *image_path, const char *role, const char *name,
	const char *allowed, struct err *err)
{
	AUTO_FREE char *path = NULL;
	int rc;

	if (!name && !allowed)
		return 0;
	if (!name)
		return err_set(err, -EPERM, "%s: names no %s, where %s was given", image_path, role,
			allowed);
	rc = names_resolve(image_path, name, &path, err);
	if (rc < 0)
		return rc;
	if (allowed && same_file(path, allowed))
		return 0;
	if (allowed)
		err_set(err, -EPERM, "%s: its %s is %s, not %s as was given", image_path, role, path,
			allowed);
	else
		err_set(err, -EPERM, "%s: its %s %s was not allowed", image_path, role, path);
	err_hint(err, "an image may name any file of this host: look at it with `qemu-img info`, "
		      "and say yourself which files it may use");
	return -EPERM;
}

static int check_format(const char *image_path, const char *declared,
	const struct base_image *below, struct err *err)
{
	if (!below || !declared || strcmp(declared, below->format) == 0)
		return 0;
	return err_set(err, -EPERM, "%s: declares its backing image %s as %s, not as %s", image_path,
		below->path, declared, below->format);
}

int names_check(const struct base_source *source, uint32_t i, const struct qcow2_info *info,
	struct err *err)
{
	const struct base_image *image = &source->images[i];
	const struct base_image *below = i + 1 < source->n_images ? image + 1 : NULL;
	int rc = check_name(image->path, "backing image", info->backing_name,
		below ? below->path : NULL, err);

	if (rc == 0)
		rc = check_format(image->path, info->backing_format, below, err);
	return rc < 0 ? rc : check_name(image->path, "data file", info->data_name,
		image->data_path, err);
}

int names_check_known(const struct base_source *source, uint32_t i,
	const struct qcow2_info *info, struct err *err)
{
	bool last = i + 1 == source->n_images;

	if (!info->backing_name != last)
		return err_set(err, -EUCLEAN, "base %s: its recorded chain is %s than its images say",
			source->images[0].path, last ? "shorter" : "longer");
	if (!info->data_name != !source->images[i].data_path)
		return err_set(err, -EUCLEAN, "base %s: %s", source->images[i].path,
			info->data_name ? "its data file was not recorded"
					: "has no data file, where one was recorded");
	return 0;
}

static int check_twins(const char *a, const char *b, struct err *err)
{
	if (!a || !b || !same_file(a, b))
		return 0;
	return err_set(err, -EPERM, "%s: is the same file as %s, and cannot be there twice", b, a);
}

int names_check_twins(const struct base_source *source, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < source->n_images; i++) {
		const struct base_image *b = &source->images[i];

		rc = check_twins(b->path, b->data_path, err);
		for (uint32_t k = 0; rc == 0 && k < i; k++) {
			const struct base_image *a = &source->images[k];

			rc = check_twins(a->path, b->path, err);
			if (rc == 0)
				rc = check_twins(a->path, b->data_path, err);
			if (rc == 0)
				rc = check_twins(a->data_path, b->path, err);
			if (rc == 0)
				rc = check_twins(a->data_path, b->data_path, err);
		}
	}
	return rc;
}
