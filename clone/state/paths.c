/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The usual places, what environment and options say otherwise, what a store remembers. */
#include "clone/state/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/text.h"

#define SYSTEM_PLACE "/var/lib/lazyclone"
#define USUAL_STORE_NAME "store"
#define STORES_NAME "stores"
#define USUAL_MOUNT_NAME "mnt"
#define MOUNT_SUFFIX "-mnt"
#define MOUNTPOINT_FILE "mountpoint"
#define DAEMON_NAME "lazyclonefs"

/* Absolute, without trailing slashes; a copy. */
static int absolute(const char *path, char **ret_path, struct err *err)
{
	AUTO_FREE char *full = NULL;
	size_t len;

	if (!path[0])
		return err_set(err, -EINVAL, "the path of a store may not be empty");
	if (!text_is_plain(path))
		return err_set(err, -EINVAL, "the path of a store must be printable UTF-8");
	if (path[0] == '/') {
		full = strdup(path);
	} else {
		AUTO_FREE char *cwd = getcwd(NULL, 0);

		if (!cwd)
			return err_sys(err, -errno, "cannot tell the current directory");
		if (asprintf(&full, "%s/%s", cwd, path) < 0)
			full = NULL;
	}
	if (!full)
		return err_sys(err, -ENOMEM, "%s", path);
	len = strlen(full);
	if (len >= PATH_MAX)
		return err_sys(err, -ENAMETOOLONG, "%s", path);
	while (len > 1 && full[len - 1] == '/')
		full[--len] = '\0';
	*ret_path = steal_ptr(&full);
	return 0;
}

/* XDG: a relative value is to be ignored. */
static int user_place(const char *what, const char *name, char **ret_path, struct err *err)
{
	const char *data = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");
	char path[PATH_MAX];
	int n;

	if (data && data[0] == '/')
		n = snprintf(path, sizeof(path), "%s/lazyclone/%s", data, name);
	else if (home && home[0] == '/')
		n = snprintf(path, sizeof(path), "%s/.local/share/lazyclone/%s", home, name);
	else
		return err_set(err, -ENOENT, "cannot find %s: HOME is not set", what);
	if (n >= (int)sizeof(path))
		return err_sys(err, -ENAMETOOLONG, "cannot find %s", what);
	return absolute(path, ret_path, err);
}

int paths_store(const char *option, char **ret_path, struct err *err)
{
	const char *environment = getenv("LAZYCLONE_STORE");

	if (option)
		return absolute(option, ret_path, err);
	if (environment && environment[0])
		return absolute(environment, ret_path, err);
	if (geteuid() == 0)
		return absolute(SYSTEM_PLACE "/" USUAL_STORE_NAME, ret_path, err);
	return user_place("a store", USUAL_STORE_NAME, ret_path, err);
}

int paths_stores(char **ret_path, struct err *err)
{
	const char *environment = getenv("LAZYCLONE_STORES");

	if (environment && environment[0])
		return absolute(environment, ret_path, err);
	if (geteuid() == 0)
		return absolute(SYSTEM_PLACE "/" STORES_NAME, ret_path, err);
	return user_place("the register of stores", STORES_NAME, ret_path, err);
}

static int usual_mountpoint(const char *store_path, char **ret_path, struct err *err)
{
	const char *slash = strrchr(store_path, '/');
	int n;

	if (slash && strcmp(slash + 1, USUAL_STORE_NAME) == 0)
		n = asprintf(ret_path, "%.*s/%s", (int)(slash - store_path), store_path,
			USUAL_MOUNT_NAME);
	else
		n = asprintf(ret_path, "%s%s", store_path, MOUNT_SUFFIX);
	return n < 0 ? err_sys(err, -ENOMEM, "%s", store_path) : 0;
}

/* One line, an absolute path. */
static bool mountpoint_valid(char *text, size_t len)
{
	if (len < 2 || text[len - 1] != '\n' || strlen(text) != len)
		return false;
	text[len - 1] = '\0';
	return text[0] == '/' && text_is_plain(text);
}

int paths_mountpoint(const char *store_path, char **ret_path, struct err *err)
{
	AUTO_CLOSE int dirfd = open(store_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *text = NULL;
	size_t len;
	int rc;

	if (dirfd < 0)
		return usual_mountpoint(store_path, ret_path, err);
	rc = io_slurp(&io_kernel, dirfd, MOUNTPOINT_FILE, PATH_MAX, &text, &len);
	if (rc == -ENOENT)
		return usual_mountpoint(store_path, ret_path, err);
	if (rc < 0) {
		err_sys(err, rc, "cannot read %s/%s", store_path, MOUNTPOINT_FILE);
		if (rc == -EACCES)
			err_hint(err, "the store is another user's: run this as that user, or name "
				"your own with --store");
		return rc;
	}
	if (!mountpoint_valid(text, len)) {
		err_set(err, -EUCLEAN, "%s/%s does not hold a path", store_path, MOUNTPOINT_FILE);
		err_hint(err, "delete that file and run: lazyclone mount MOUNTPOINT");
		return -EUCLEAN;
	}
	*ret_path = steal_ptr(&text);
	return 0;
}

int paths_remember_mountpoint(const char *store_path, const char *mountpoint, struct err *err)
{
	AUTO_CLOSE int dirfd = open(store_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *line = NULL;
	int len, rc;

	if (mountpoint[0] != '/' || !text_is_plain(mountpoint) || strlen(mountpoint) >= PATH_MAX)
		return err_set(err, -EINVAL, "a mount point must be a printable absolute path");
	len = asprintf(&line, "%s\n", mountpoint);
	if (len < 0) {
		line = NULL;
		return err_sys(err, -ENOMEM, "%s", mountpoint);
	}
	rc = dirfd < 0 ? -errno : 0;
	if (rc == 0)
		rc = io_publish(&io_kernel, dirfd, MOUNTPOINT_FILE, line, (size_t)len, 0644);
	if (rc < 0)
		return err_sys(err, rc, "cannot write %s/%s", store_path, MOUNTPOINT_FILE);
	return 0;
}

/* The daemon as the running program sees it: beside it in a build tree, in
 * its sbin once installed. NULL: neither. Allocated. */
static char *daemon_near_us(void)
{
	static const char *const places[] = {"", "../sbin/"};
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (len <= 0)
		return NULL;
	self[len] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return NULL;
	*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char *path;

		if (asprintf(&path, "%s/%s" DAEMON_NAME, self, places[i]) < 0)
			return NULL;
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

int paths_daemon(char **ret_path, struct err *err)
{
	const char *installed = LAZYCLONE_SBINDIR "/" DAEMON_NAME;
	char *path = daemon_near_us();

	if (!path && access(installed, X_OK) < 0) {
		int rc = err_sys(err, -errno, "cannot run the daemon %s", installed);

		err_hint(err, "install lazyclone: make install");
		return rc;
	}
	*ret_path = path ? path : strdup(installed);
	return *ret_path ? 0 : err_sys(err, -ENOMEM, "cannot run the daemon");
}
