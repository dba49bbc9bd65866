/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One small file per store: see stores.h. */
#include "clone/state/stores.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clone/state/paths.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/text.h"

#define PLACE_MODE 0755
#define ENTRY_MODE 0644

/* *ret_fd: -1 if there is no such directory. */
static int open_place(bool make, char **ret_path, int *ret_fd, struct err *err)
{
	AUTO_FREE char *path = NULL;
	int rc = paths_stores(&path, err);

	if (rc < 0)
		return rc;
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_fd < 0 && errno == ENOENT && make) {
		rc = io_make_dirs(&io_kernel, path, PLACE_MODE);
		*ret_fd = rc < 0 ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (rc == 0 && *ret_fd < 0 && (errno != ENOENT || make))
		rc = -errno;
	if (rc < 0) {
		err_sys(err, rc, "the register of stores %s", path);
		err_hint(err, "LAZYCLONE_STORES names another directory for it");
		return rc;
	}
	*ret_path = steal_ptr(&path);
	return 0;
}

static bool path_valid(const char *path)
{
	return path[0] == '/' && text_is_plain(path) && strlen(path) < PATH_MAX;
}

/* The path that stands in an entry, or NULL. Caller frees. */
static char *read_entry(int dirfd, const char *name)
{
	AUTO_FREE char *text = NULL;
	size_t len;

	if (io_slurp(&io_kernel, dirfd, name, PATH_MAX, &text, &len) < 0)
		return NULL;
	if (len < 2 || text[len - 1] != '\n' || strlen(text) != len)
		return NULL;
	text[len - 1] = '\0';
	return path_valid(text) ? steal_ptr(&text) : NULL;
}

static int write_entry(int dirfd, const char *name, const char *path)
{
	AUTO_FREE char *line = NULL;
	int len = asprintf(&line, "%s\n", path);

	if (len < 0) {
		line = NULL;
		return -ENOMEM;
	}
	return io_publish(&io_kernel, dirfd, name, line, (size_t)len, ENTRY_MODE);
}

int stores_note(const struct id *id, const char *path, struct err *err)
{
	AUTO_FREE char *place = NULL, *noted = NULL;
	AUTO_CLOSE int dirfd = -1;
	char name[ID_TEXT];
	int rc;

	if (!path_valid(path))
		return err_set(err, -EINVAL, "the path of a store must be printable UTF-8");
	rc = open_place(true, &place, &dirfd, err);
	if (rc < 0)
		return rc;
	id_format(id, name);
	noted = read_entry(dirfd, name);
	if (noted && strcmp(noted, path) == 0)
		return 0;
	rc = write_entry(dirfd, name, path);
	if (rc == 0)
		return 0;
	err_sys(err, rc, "cannot note the store %s in %s", path, place);
	err_hint(err, "LAZYCLONE_STORES names another directory for it");
	return rc;
}

static int add_entry(int dirfd, const char *name, struct stores_entry **entries, uint32_t *count)
{
	struct stores_entry *grown;
	struct id id;

	if (id_parse(name, &id) < 0)
		return 0; /* a temporary file, or none of ours */
	if (*count == STORES_MAX)
		return -EMLINK;
	grown = reallocarray(*entries, *count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*entries = grown;
	grown[(*count)++] = (struct stores_entry){.id = id, .path = read_entry(dirfd, name)};
	return 0;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(&((const struct stores_entry *)a)->id, &((const struct stores_entry *)b)->id,
		sizeof(struct id));
}

static int read_all(int dirfd, struct stores_entry **entries, uint32_t *count)
{
	DIR *dir = fdopendir(dup(dirfd));
	struct dirent *entry;
	int rc = 0;

	if (!dir)
		return -errno;
	while (rc == 0 && (errno = 0, entry = readdir(dir)))
		rc = add_entry(dirfd, entry->d_name, entries, count);
	if (rc == 0 && errno)
		rc = -errno;
	closedir(dir);
	return rc;
}

int stores_list(struct stores_entry **ret_entries, uint32_t *ret_count, struct err *err)
{
	AUTO_FREE char *place = NULL;
	AUTO_CLOSE int dirfd = -1;
	struct stores_entry *entries = NULL;
	uint32_t count = 0;
	int rc = open_place(false, &place, &dirfd, err);

	if (rc == 0 && dirfd >= 0) {
		rc = read_all(dirfd, &entries, &count);
		if (rc < 0)
			err_sys(err, rc, "the register of stores %s", place);
	}
	if (rc < 0) {
		stores_free(entries, count);
		return rc;
	}
	if (count > 0)
		qsort(entries, count, sizeof(*entries), by_id);
	*ret_entries = entries;
	*ret_count = count;
	return 0;
}

void stores_free(struct stores_entry *entries, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(entries[i].path);
	free(entries);
}

int stores_forget(const struct id *id, struct err *err)
{
	AUTO_FREE char *place = NULL;
	AUTO_CLOSE int dirfd = -1;
	char name[ID_TEXT];
	int rc = open_place(false, &place, &dirfd, err);

	if (rc < 0 || dirfd < 0)
		return rc;
	id_format(id, name);
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return err_sys(err, -errno, "cannot take %s out of %s", name, place);
	return 0;
}
