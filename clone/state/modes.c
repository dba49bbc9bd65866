/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading and writing STORE/modes.json, and its lock: see modes.h. */
#include "clone/state/modes.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"

#define FORMAT 1
#define NAME "modes.json"
#define TEMP_NAME "modes.json.tmp" /* io_publish()'s */
#define LOCK_NAME "modes.lock"
#define FILE_BYTE 0   /* exclusive: the file is being changed */
#define MAKERS_BYTE 1 /* shared: a clone is being made; exclusive: modes are being given back */

void modes_clear(struct modes *modes)
{
	for (uint32_t i = 0; i < modes->count; i++)
		free(modes->entries[i].path);
	free(modes->entries);
	*modes = (struct modes){0};
}

struct modes_entry *modes_find(const struct modes *modes, const char *id)
{
	for (uint32_t i = 0; i < modes->count; i++)
		if (strcmp(modes->entries[i].id, id) == 0)
			return &modes->entries[i];
	return NULL;
}

struct modes_entry *modes_add(struct modes *modes, const char *id, const char *path)
{
	struct modes_entry *grown =
		reallocarray(modes->entries, modes->count + 1, sizeof(*grown));
	struct modes_entry *entry;

	if (!grown)
		return NULL;
	modes->entries = grown;
	entry = &grown[modes->count];
	*entry = (struct modes_entry){.path = strdup(path)};
	if (!entry->path)
		return NULL;
	memcpy(entry->id, id, strnlen(id, MODES_ID - 1));
	modes->count++;
	return entry;
}

void modes_drop(struct modes *modes, struct modes_entry *entry)
{
	free(entry->path);
	*entry = modes->entries[--modes->count];
}

/* ---- text ---- */

static bool get_entry(const json_t *json, struct modes *modes)
{
	const char *id, *path;
	json_int_t inode, mode;
	int immutable, by_hand;
	struct modes_entry *entry;

	if (json_unpack((json_t *)json, "{s:s, s:s, s:I, s:I, s:b, s:b !}", "id", &id, "path", &path,
		    "inode", &inode, "mode", &mode, "immutable", &immutable, "by_hand",
		    &by_hand) < 0)
		return false;
	if (strlen(id) != MODES_ID - 1 || strspn(id, "0123456789abcdef") != MODES_ID - 1 ||
		path[0] != '/' || mode < 0 || mode > 0777 || modes_find(modes, id))
		return false;
	entry = modes_add(modes, id, path);
	if (!entry)
		return false;
	entry->inode = (uint64_t)inode;
	entry->mode = (mode_t)mode;
	entry->immutable = immutable;
	entry->by_hand = by_hand;
	return true;
}

static bool get_all(const json_t *json, struct modes *modes)
{
	const json_t *files = json_object_get(json, "files"), *file;
	size_t i;

	if (json_integer_value(json_object_get(json, "format")) != FORMAT ||
		!json_is_array(files) || json_array_size(files) > MODES_MAX)
		return false;
	json_array_foreach(files, i, file)
		if (!get_entry(file, modes))
			return false;
	return true;
}

int modes_read(int store_dirfd, struct modes *ret_modes, struct err *err)
{
	AUTO_FREE char *text = NULL;
	struct modes modes = {0};
	json_t *json;
	size_t len;
	bool good;
	int rc = io_slurp(&io_kernel, store_dirfd, NAME, MODES_BYTES_MAX, &text, &len);

	*ret_modes = modes;
	if (rc < 0)
		return rc == -ENOENT ? 0 : err_sys(err, rc, "cannot read the store's %s", NAME);
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	good = get_all(json, &modes);
	json_decref(json);
	if (!good) {
		modes_clear(&modes);
		return err_set(err, -EUCLEAN, "the store's %s is damaged", NAME);
	}
	*ret_modes = modes;
	return 0;
}

static char *format(const struct modes *modes)
{
	json_t *files = json_array();
	json_t *json = json_pack("{s:i, s:o}", "format", FORMAT, "files", files);
	char *text;
	int rc = json ? 0 : -1;

	for (uint32_t i = 0; rc == 0 && i < modes->count; i++) {
		const struct modes_entry *entry = &modes->entries[i];

		rc = json_array_append_new(files, json_pack("{s:s, s:s, s:I, s:I, s:b, s:b}", "id",
			entry->id, "path", entry->path, "inode", (json_int_t)entry->inode, "mode",
			(json_int_t)entry->mode, "immutable", entry->immutable, "by_hand",
			entry->by_hand));
	}
	text = rc == 0 ? json_dumps(json, JSON_INDENT(1)) : NULL;
	json_decref(json);
	return text;
}

static int remove_name(int store_dirfd, const char *name, bool *removed)
{
	if (unlinkat(store_dirfd, name, 0) == 0)
		*removed = true;
	else if (errno != ENOENT)
		return -errno;
	return 0;
}

/* What a crash left of one being written goes with it. */
static int remove_file(int store_dirfd)
{
	bool removed = false;
	int rc = remove_name(store_dirfd, TEMP_NAME, &removed);

	if (rc == 0)
		rc = remove_name(store_dirfd, NAME, &removed);
	return rc == 0 && removed ? io_fsync_dir(&io_kernel, store_dirfd, ".") : rc;
}

int modes_write(int store_dirfd, const struct modes *modes, struct err *err)
{
	AUTO_FREE char *text = modes->count > 0 ? format(modes) : NULL;
	int rc;

	if (modes->count > MODES_MAX)
		return err_set(err, -EMLINK, "the modes of %u files are noted already", MODES_MAX);
	if (modes->count == 0)
		rc = remove_file(store_dirfd);
	else
		rc = text ? io_publish(&io_kernel, store_dirfd, NAME, text, strlen(text), 0600)
			  : -EILSEQ;
	return rc < 0 ? err_sys(err, rc, "cannot write the store's %s", NAME) : 0;
}

/* ---- the lock ---- */

static int lock(int store_dirfd, bool wait, bool exclusive, uint64_t byte)
{
	int fd = openat(store_dirfd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int rc = fd < 0 ? -errno
		: wait  ? io_lock_wait(fd, exclusive, byte, 1)
			: io_lock(fd, exclusive, byte, 1);

	if (rc == 0)
		return fd;
	if (fd >= 0)
		close_fd(&fd);
	return rc == -EAGAIN ? -EBUSY : rc;
}

int modes_keep(int store_dirfd)
{
	return lock(store_dirfd, true, false, MAKERS_BYTE);
}

int modes_give_back(int store_dirfd)
{
	return lock(store_dirfd, false, true, MAKERS_BYTE);
}

int modes_lock(int store_dirfd)
{
	return lock(store_dirfd, true, true, FILE_BYTE);
}
