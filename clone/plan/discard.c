/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleting a base image: see discard.h. */
#include "clone/plan/discard.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clone/plan/bases.h"
#include "clone/state/stores.h"
#include "clone/virt/virt.h"
#include "clone/xml/domain.h"
#include "fs/base/base.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"

/* QEMU's image locks: bytes for what a process uses, and for what it denies. */
#define LOCKS_OFF 100
#define LOCKS_LEN 200

struct discard {
	struct session *session;
	const struct discard_options *options;
	char *path;
	struct stat st; /* of the file that is meant */
};

/* ---- the file ---- */

static int look(struct discard *discard, struct err *err)
{
	if (lstat(discard->path, &discard->st) < 0)
		return err_sys(err, -errno, "%s", discard->path);
	if (S_ISREG(discard->st.st_mode))
		return 0;
	err_set(err, -EOPNOTSUPP, "%s is not a regular file", discard->path);
	err_hint(err, "only image files are removed; name the file itself, not a link to it");
	return -EOPNOTSUPP;
}

static bool is_meant(const struct discard *discard, const char *path)
{
	struct stat st;

	return path && stat(path, &st) == 0 && st.st_ino == discard->st.st_ino &&
		st.st_dev == discard->st.st_dev;
}

static int refuse_locked(const struct discard *discard, struct err *err)
{
	err_set(err, -EBUSY, "%s is in use: a QEMU process or a lazyclone daemon has it locked",
		discard->path);
	err_hint(err, "`fuser -v %s` names it", discard->path);
	return -EBUSY;
}

/* Opened for writing, as an exclusive lock needs: only once a look has shown
 * that there are no readers, who would have to wait for us. */
static int lock(const struct discard *discard, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int look_fd = open(discard->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_CLOSE int fd = -1;
	struct stat st;
	int rc = look_fd < 0 ? -errno : io_lock_test(look_fd, LOCKS_OFF, LOCKS_LEN);

	if (rc > 0)
		return refuse_locked(discard, err);
	if (rc == 0)
		fd = open(discard->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (rc == 0)
		rc = fd < 0 ? -errno : io_lock(fd, true, LOCKS_OFF, LOCKS_LEN);
	if (rc == -EAGAIN)
		return refuse_locked(discard, err);
	if (rc < 0) {
		err_sys(err, rc, "%s cannot be locked", discard->path);
		if (rc == -EACCES)
			err_hint(err, "it has to be writable for that: chmod u+w %s",
				discard->path);
		return rc;
	}
	if (fstat(fd, &st) < 0 || st.st_ino != discard->st.st_ino ||
		st.st_dev != discard->st.st_dev)
		return err_set(err, -EBUSY, "%s was replaced just now", discard->path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* ---- who needs it ---- */

static int refuse_needed(const struct discard *discard, const struct bases *bases,
	const struct bases_entry *entry, struct err *err)
{
	AUTO_FREE char *users = bases_users_text(bases, entry);

	err_set(err, -EBUSY, "%s is needed by %s", discard->path, users ? users : "clones");
	err_hint(err, "remove them (lazyclone rm) or make them independent (lazyclone hydrate) "
		"first; all of them: lazyclone base info %s", discard->path);
	return -EBUSY;
}

static int check_clones(const struct discard *discard, struct err *err)
{
	struct bases bases;
	int rc = bases_load(discard->session, &bases, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < bases.n_entries; i++)
		if (bases_file_of(&bases.entries[i], discard->path) >= 0)
			rc = refuse_needed(discard, &bases, &bases.entries[i], err);
	if (rc == 0)
		rc = bases_check_whole(&bases, discard->options->forget_missing, err);
	bases_clear(&bases);
	return rc;
}

/* Is the image, or a file that it says it is stacked on, the one that is meant? */
static bool stands_on(const struct discard *discard, const char *path, const char *format)
{
	AUTO_FREE char *image = path ? strdup(path) : NULL;
	AUTO_FREE char *kind = format ? strdup(format) : NULL;

	for (int i = 0; image && i < BASE_IMAGES_MAX; i++) {
		struct base_wants wants;
		bool data;

		if (is_meant(discard, image))
			return true;
		if (!kind || base_wants(image, kind, &wants, NULL) < 0)
			return false;
		data = is_meant(discard, wants.data_path);
		free(image);
		free(kind);
		image = steal_ptr(&wants.backing_path);
		kind = steal_ptr(&wants.backing_format);
		base_wants_clear(&wants);
		if (data)
			return true;
	}
	return false;
}

static bool disk_uses(const struct discard *discard, struct virt *virt,
	const struct xml_disk *disk)
{
	AUTO_FREE char *volume = NULL;

	if (disk->pool && disk->volume &&
		virt_volume_path(virt, disk->pool, disk->volume, &volume, NULL) < 0)
		volume = NULL;
	for (uint32_t i = 0; i < disk->n_backings; i++)
		if (stands_on(discard, disk->backings[i].path, disk->backings[i].format) ||
			is_meant(discard, disk->backings[i].data))
			return true;
	return is_meant(discard, disk->data) || stands_on(discard, disk->source, disk->format) ||
		stands_on(discard, volume, disk->format);
}

static bool domain_uses(const struct discard *discard, struct virt *virt, const char *xml)
{
	struct xml_domain *survey;
	bool uses = false;

	if (xml_survey(xml, &survey, NULL) < 0)
		return false;
	for (uint32_t i = 0; !uses && i < survey->n_disks; i++)
		uses = disk_uses(discard, virt, &survey->disks[i]);
	xml_domain_free(survey);
	return uses;
}

static int check_domains(const struct discard *discard, struct err *err)
{
	struct virt_domain *domains;
	struct virt *virt;
	uint32_t count;
	int rc = session_need_virt(discard->session, &virt, err);

	if (rc == 0)
		rc = virt_list(virt, &domains, &count, err);
	if (rc < 0) {
		err_prefix(err, "cannot tell whether a domain uses %s", discard->path);
		return rc;
	}
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		if (!domain_uses(discard, virt, domains[i].xml))
			continue;
		rc = err_set(err, -EBUSY, "%s is an image of the domain %s", discard->path,
			domains[i].name);
		err_hint(err, "undefine the domain first, if it is not needed any more: virsh "
			"undefine %s", domains[i].name);
	}
	virt_list_free(domains, count);
	return rc;
}

/* ---- what stays ---- */

static json_t *find_remaining(const struct discard *discard)
{
	json_t *remaining = json_array();
	AUTO_FREE char *image = strdup(discard->path);
	AUTO_FREE char *kind = strdup("qcow2"); /* if it is none, it names nothing */

	for (int i = 0; image && kind && i < BASE_IMAGES_MAX; i++) {
		struct base_wants wants;

		if (base_wants(image, kind, &wants, NULL) < 0)
			break;
		if (wants.data_path)
			json_array_append_new(remaining, json_string(wants.data_path));
		if (wants.backing_path)
			json_array_append_new(remaining, json_string(wants.backing_path));
		free(image);
		free(kind);
		image = steal_ptr(&wants.backing_path);
		kind = steal_ptr(&wants.backing_format);
		base_wants_clear(&wants);
	}
	return remaining;
}

/* ---- the deed ---- */

static int forget_missing(struct session *session, struct err *err)
{
	struct bases bases;
	int rc = bases_load(session, &bases, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < bases.n_stores; i++)
		if (bases.stores[i].gone)
			rc = stores_forget(&bases.stores[i].id, err);
	bases_clear(&bases);
	return rc;
}

static int delete_it(const struct discard *discard, struct err *err)
{
	AUTO_FREE char *copy = strdup(discard->path);
	int rc;

	if (!copy)
		return err_sys(err, -ENOMEM, "%s", discard->path);
	if (unlink(discard->path) < 0)
		return err_sys(err, -errno, "cannot remove %s", discard->path);
	rc = io_fsync_dir(&io_kernel, AT_FDCWD, dirname(copy));
	return rc < 0 ? err_sys(err, rc, "removing %s", discard->path) : 0;
}

static int check_users(const struct discard *discard, struct err *err)
{
	int rc = check_clones(discard, err);

	return rc == 0 ? check_domains(discard, err) : rc;
}

static int discard_locked(const struct discard *discard, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	int rc = lock(discard, &fd, err);

	if (rc == 0)
		rc = check_users(discard, err);
	return rc == 0 ? delete_it(discard, err) : rc;
}

static int run(struct discard *discard, json_t **ret_result, struct err *err)
{
	json_t *remaining;
	int rc = look(discard, err);

	if (rc == 0)
		rc = check_users(discard, err);
	if (rc < 0)
		return rc;
	remaining = find_remaining(discard);
	if (!discard->options->confirm(discard->options->ctx, discard->path, remaining))
		rc = err_set(err, -ECANCELED, "%s was left as it is", discard->path);
	if (rc == 0)
		rc = discard_locked(discard, err);
	if (rc == 0)
		*ret_result = json_pack("{s:s, s:b, s:O}", "path", discard->path, "removed", true,
			"remaining", remaining);
	json_decref(remaining);
	if (rc == 0 && discard->options->forget_missing)
		rc = forget_missing(discard->session, err);
	return rc;
}

int discard_base(struct session *session, const char *path, const struct discard_options *options,
	json_t **ret_result, struct err *err)
{
	struct discard discard = {.session = session, .options = options};
	int rc;

	*ret_result = NULL;
	discard.path = bases_path(path, err);
	rc = discard.path ? run(&discard, ret_result, err) : err->code;
	free(discard.path);
	return rc;
}
