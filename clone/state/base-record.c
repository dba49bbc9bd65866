/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading and writing the records of base files: see base-record.h. */
#include "clone/state/base-record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"

#define FORMAT 1
#define SUFFIX ".json"
#define TEMP_SUFFIX ".json.tmp" /* io_publish()'s */
#define NAME_TEXT (BASE_RECORD_ID + sizeof(SUFFIX))

void base_record_free(struct base_record *record)
{
	if (!record)
		return;
	free(record->path);
	free(record->format);
	free(record->identity);
	free(record->fingerprint);
	free(record);
}

static void file_name(const char *id, char name[static NAME_TEXT])
{
	snprintf(name, NAME_TEXT, "%s" SUFFIX, id);
}

static bool is_id(const char *text, size_t len)
{
	return len == BASE_RECORD_ID - 1 && strspn(text, "0123456789abcdef") >= len;
}

static int open_dir(int store_dirfd, bool make, int *ret_fd)
{
	int rc = 0;

	if (make && mkdirat(store_dirfd, BASE_RECORD_DIR, 0700) == 0)
		rc = io_fsync_dir(&io_kernel, store_dirfd, ".");
	else if (make && errno != EEXIST)
		rc = -errno;
	if (rc < 0)
		return rc;
	*ret_fd = openat(store_dirfd, BASE_RECORD_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd < 0 ? -errno : 0;
}

/* ---- text ---- */

static char *format(const struct base_record *record)
{
	json_t *json = json_pack("{s:i, s:s, s:s, s:s, s:s, s:I}", "format", FORMAT, "path",
		record->path, "image_format", record->format, "identity", record->identity,
		"fingerprint", record->fingerprint, "taken", (json_int_t)record->taken_sec);
	char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;

	json_decref(json);
	return text;
}

static bool get_text(const json_t *json, const char *member, char **ret_text)
{
	const char *text = json_string_value(json_object_get(json, member));

	*ret_text = text ? strdup(text) : NULL;
	return *ret_text != NULL;
}

static bool get_all(const json_t *json, struct base_record *record)
{
	const json_t *taken = json_object_get(json, "taken");

	record->taken_sec = json_integer_value(taken);
	return json_integer_value(json_object_get(json, "format")) == FORMAT &&
		json_is_integer(taken) &&
		get_text(json, "path", &record->path) &&
		get_text(json, "image_format", &record->format) &&
		get_text(json, "identity", &record->identity) &&
		get_text(json, "fingerprint", &record->fingerprint);
}

static int parse(const char *text, size_t len, struct base_record **ret_record)
{
	struct base_record *record = calloc(1, sizeof(*record));
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	bool good = record && get_all(json, record);

	json_decref(json);
	if (good) {
		*ret_record = record;
		return 0;
	}
	base_record_free(record);
	return record ? -EUCLEAN : -ENOMEM;
}

/* ---- files ---- */

int base_record_write(int store_dirfd, const char id[static BASE_RECORD_ID],
	const struct base_record *record, struct err *err)
{
	AUTO_FREE char *text = format(record);
	AUTO_CLOSE int dirfd = -1;
	char name[NAME_TEXT];
	int rc = text ? open_dir(store_dirfd, true, &dirfd) : -ENOMEM;

	file_name(id, name);
	if (rc == 0)
		rc = io_publish(&io_kernel, dirfd, name, text, strlen(text), 0600);
	return rc < 0 ? err_sys(err, rc, "cannot write the record of base %s", record->path) : 0;
}

int base_record_read(int store_dirfd, const char id[static BASE_RECORD_ID],
	struct base_record **ret_record, struct err *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_CLOSE int dirfd = -1;
	char name[NAME_TEXT];
	size_t len;
	int rc = open_dir(store_dirfd, false, &dirfd);

	file_name(id, name);
	if (rc == 0)
		rc = io_slurp(&io_kernel, dirfd, name, BASE_RECORD_BYTES_MAX, &text, &len);
	if (rc == 0)
		rc = parse(text, len, ret_record);
	if (rc == -EUCLEAN || rc == -EFBIG)
		return err_set(err, -EUCLEAN, "%s/%s is damaged", BASE_RECORD_DIR, name);
	return rc < 0 ? err_sys(err, rc, "%s/%s", BASE_RECORD_DIR, name) : 0;
}

bool base_record_exists(int store_dirfd, const char id[static BASE_RECORD_ID])
{
	char path[sizeof(BASE_RECORD_DIR) + NAME_TEXT];
	struct stat st;

	snprintf(path, sizeof(path), BASE_RECORD_DIR "/%s" SUFFIX, id);
	return fstatat(store_dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void base_record_tidy(int store_dirfd)
{
	struct dirent *entry;
	DIR *dir;
	int fd;

	if (open_dir(store_dirfd, false, &fd) < 0)
		return;
	dir = fdopendir(fd);
	if (!dir) {
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(dir))) {
		size_t len = strlen(entry->d_name), tail = strlen(TEMP_SUFFIX);

		if (len > tail && strcmp(entry->d_name + len - tail, TEMP_SUFFIX) == 0)
			unlinkat(fd, entry->d_name, 0);
	}
	closedir(dir);
	unlinkat(store_dirfd, BASE_RECORD_DIR, AT_REMOVEDIR); /* if that was all */
}

static int add_id(const char *name, char (**ids)[BASE_RECORD_ID], uint32_t *count)
{
	const char *suffix = strchr(name, '.');
	char (*grown)[BASE_RECORD_ID];

	if (!suffix || strcmp(suffix, SUFFIX) != 0 || !is_id(name, (size_t)(suffix - name)))
		return 0;
	if (*count == BASE_RECORDS_MAX)
		return -EMLINK;
	grown = reallocarray(*ids, *count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*ids = grown;
	memcpy(grown[*count], name, BASE_RECORD_ID - 1);
	grown[(*count)++][BASE_RECORD_ID - 1] = '\0';
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int read_ids(int store_dirfd, char (**ids)[BASE_RECORD_ID], uint32_t *count)
{
	struct dirent *entry;
	DIR *dir;
	int fd, rc = open_dir(store_dirfd, false, &fd);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	dir = fdopendir(fd);
	if (!dir) {
		close_fd(&fd);
		return -ENOMEM;
	}
	while (rc == 0 && (errno = 0, entry = readdir(dir)))
		rc = add_id(entry->d_name, ids, count);
	if (rc == 0 && errno)
		rc = -errno;
	closedir(dir);
	return rc;
}

int base_record_list(int store_dirfd, char (**ret_ids)[BASE_RECORD_ID], uint32_t *ret_count,
	struct err *err)
{
	char (*ids)[BASE_RECORD_ID] = NULL;
	uint32_t count = 0;
	int rc = read_ids(store_dirfd, &ids, &count);

	if (rc < 0) {
		free(ids);
		return err_sys(err, rc, "cannot read the store's directory %s", BASE_RECORD_DIR);
	}
	if (count > 0)
		qsort(ids, count, sizeof(*ids), compare_ids);
	*ret_ids = ids;
	*ret_count = count;
	return 0;
}

int base_record_remove(int store_dirfd, const char id[static BASE_RECORD_ID], struct err *err)
{
	AUTO_CLOSE int dirfd = -1;
	char name[NAME_TEXT];
	int rc = open_dir(store_dirfd, false, &dirfd);

	file_name(id, name);
	if (rc == 0 && unlinkat(dirfd, name, 0) < 0)
		rc = -errno;
	return rc < 0 && rc != -ENOENT ? err_sys(err, rc, "%s/%s", BASE_RECORD_DIR, name) : 0;
}
