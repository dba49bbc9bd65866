/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding clones and proving that they are ours: see ours.h. */
#include "clone/plan/ours.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "clone/plan/hide.h"
#include "clone/xml/domain.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"

void ours_clear(struct ours *ours)
{
	manifest_free(ours->manifest);
	record_free(ours->record);
	virt_domain_clear(&ours->domain);
	close_fd(&ours->dirfd);
	close_fd(&ours->lock_fd);
	memset(ours, 0, sizeof(*ours));
	ours->dirfd = ours->lock_fd = -1;
}

/* Is the domain what hydrate defines: on each recorded image, without our mark? */
static bool is_hydrated(const struct ours *ours)
{
	const struct record *record = ours->record;
	struct xml_restore_request request = {.n_disks = record->n_disks};
	AUTO_FREE struct xml_new_disk *disks = calloc(record->n_disks, sizeof(*disks));

	if (!disks || record->phase == RECORD_CLONE)
		return false;
	for (uint32_t i = 0; i < record->n_disks; i++) {
		if (!record->disks[i].image)
			return false;
		disks[i] = (struct xml_new_disk){
			.target = record->disks[i].target,
			.path = record->disks[i].image,
			.driver = record->disks[i].driver,
		};
	}
	request.disks = disks;
	return xml_check_restored(ours->domain.xml, &request, NULL) == 0;
}

static int check_provenance(const struct ours *ours, struct err *err)
{
	const struct virt_domain *domain = &ours->domain;
	struct xml_provenance provenance;
	bool same;

	if (xml_provenance(domain->xml, &provenance) != 1) {
		err_set(err, -EPERM, "domain %s (UUID %s) is not ours: it carries no mark of a clone",
			domain->name, domain->uuid);
		err_hint(err, "its metadata was edited; remove it with virsh undefine, then run again");
		return -EPERM;
	}
	same = strcasecmp(provenance.uuid, ours->record->uuid) == 0 &&
		provenance.frozen == ours->record->frozen;
	xml_provenance_clear(&provenance);
	if (same)
		return 0;
	return err_set(err, -EPERM, "domain %s (UUID %s) is not ours: its mark is another's",
		domain->name, domain->uuid);
}

/* Undefined by hand. A namesake may have been defined on the clone's disks. */
static int check_namesake(const struct ours *ours, struct err *err)
{
	const char *name = ours->manifest->name;
	int rc = virt_name_taken(ours->virt, name, err);

	if (rc <= 0)
		return rc;
	err_set(err, -EPERM, "domain %s is not ours: it has another UUID than the clone", name);
	err_hint(err, "the clone's own domain is gone; rename or undefine this one, then run again");
	return -EPERM;
}

int ours_refresh(struct ours *ours, struct err *err)
{
	struct virt_domain domain;
	int rc;

	if (!ours->virt)
		return 0;
	rc = virt_lookup_uuid(ours->virt, ours->record->uuid, &domain, err);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	virt_domain_clear(&ours->domain);
	if (rc == -ENOENT)
		return check_namesake(ours, err);
	ours->domain = domain;
	ours->hydrated = is_hydrated(ours);
	return ours->hydrated ? 0 : check_provenance(ours, err);
}

static int read_manifest(struct store *store, const char *name, struct manifest **ret_manifest,
	struct err *err)
{
	int rc = store_manifest_read(store, name, ret_manifest, err);

	if (rc == -EUCLEAN)
		err_hint(err, "see what can be saved: lazyclone umount; lazyclone-fsck %s %s",
			store_path(store), name);
	return rc;
}

int ours_reread(struct ours *ours, struct err *err)
{
	struct manifest *manifest;
	int rc = read_manifest(ours->store, ours->manifest->name, &manifest, err);

	if (rc < 0)
		return rc;
	if (!id_equal(&manifest->id, &ours->manifest->id)) {
		manifest_free(manifest);
		return err_set(err, -ENOENT, "clone %s: removed just now", ours->manifest->name);
	}
	manifest_free(ours->manifest);
	ours->manifest = manifest;
	return 0;
}

bool ours_has_nvram(const struct ours *ours)
{
	struct xml_domain *survey;
	bool same;

	if (!ours->record->nvram || !ours->domain.xml ||
		xml_survey(ours->domain.xml, &survey, NULL) < 0)
		return false;
	same = survey->nvram && strcmp(survey->nvram, ours->record->nvram) == 0;
	xml_domain_free(survey);
	return same;
}

int ours_check_usable(const struct ours *ours, struct err *err)
{
	const char *name = ours->manifest->name;

	if (ours->hydrated || ours->record->phase == RECORD_DEFINED) {
		err_set(err, -EBUSY, "clone %s is hydrated: it is on full images already", name);
		err_hint(err, "let it drop the delta: lazyclone %s %s", ours_way_out(ours), name);
		return -EBUSY;
	}
	if (ours->virt && !ours->domain.name) {
		err_set(err, -ENOENT, "clone %s: its domain is gone", name);
		err_hint(err, "remove what is left of it: lazyclone rm %s", name);
		return -ENOENT;
	}
	return 0;
}

const char *ours_way_out(const struct ours *ours)
{
	return ours->record->frozen ? "base thaw" : "hydrate";
}

int ours_refuse_frozen(const struct ours *ours, struct err *err)
{
	const char *name = ours->manifest->name;

	if (!ours->record->frozen || (ours->virt && !ours->domain.name))
		return 0;
	err_set(err, -EBUSY, "%s is a frozen original, not a clone: what it wrote is the machine "
		"itself", name);
	err_hint(err, "give it full images of its own again: lazyclone base thaw %s", name);
	return -EBUSY;
}

int ours_power_off(struct ours *ours, bool force, struct err *err)
{
	int rc;

	if (!ours->domain.active)
		return 0;
	if (!force) {
		err_set(err, -EBUSY, "clone %s is running", ours->manifest->name);
		err_hint(err, "shut it down first (virsh shutdown %s), or power it off with --force",
			ours->domain.name);
		return -EBUSY;
	}
	rc = virt_destroy(ours->virt, ours->record->uuid, err);
	return rc == 0 ? ours_refresh(ours, err) : rc;
}

/* Is dirfd still what is found under the clone's name? */
static bool still_there(struct store *store, int dirfd, const char *name)
{
	AUTO_CLOSE int fd = store_clone_dirfd(store, name);
	struct stat now, then;

	return fd >= 0 && fstat(fd, &now) == 0 && fstat(dirfd, &then) == 0 &&
		now.st_ino == then.st_ino && now.st_dev == then.st_dev;
}

/* The file goes with the clone. */
int ours_lock(struct store *store, int dirfd, const char *name, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = openat(
		dirfd, OURS_LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int rc = fd < 0 ? -errno : io_lock(fd, true, 0, 1);

	if (rc == -EAGAIN) {
		err_set(err, -EBUSY, "clone %s: another lazyclone command is at work on it", name);
		err_hint(err, "wait until it has ended");
		return -EBUSY;
	}
	if (rc < 0)
		return err_sys(err, rc, "clone %s: cannot lock it", name);
	if (!still_there(store, dirfd, name))
		return err_set(err, -ENOENT, "clone %s: removed just now", name);
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int open_clone(struct session *session, const char *name, bool take, struct ours *ours,
	struct err *err)
{
	int rc = session_need_store(session, false, &ours->store, err);

	if (rc < 0)
		return rc;
	rc = store_clone_dirfd(ours->store, name);
	if (rc == -ENOENT) {
		err_set(err, rc, "clone %s: no such clone in %s", name,
			session_store_path(session));
		err_hint(err, "see them all: lazyclone list");
		return rc;
	}
	if (rc < 0)
		return err_sys(err, rc, "clone %s", name);
	ours->dirfd = rc;
	rc = take ? ours_lock(ours->store, ours->dirfd, name, &ours->lock_fd, err) : 0;
	if (rc == 0)
		rc = read_manifest(ours->store, name, &ours->manifest, err);
	if (rc == 0)
		rc = record_read(ours->dirfd, &ours->record, err);
	return rc;
}

static int open_ours(struct session *session, const char *name, bool take,
	struct ours *ret_ours, struct err *err)
{
	struct ours ours = {.dirfd = -1, .lock_fd = -1};
	int rc = open_clone(session, name, take, &ours, err);

	if (rc == 0 && ours.record->uri)
		rc = session_virt_at(session, ours.record->uri, &ours.virt, err);
	if (rc == 0)
		rc = ours_refresh(&ours, err);
	if (rc < 0) {
		ours_clear(&ours);
		return rc;
	}
	*ret_ours = ours;
	return 0;
}

/* 1: the clone called name has the record of this domain. */
static int belongs(struct store *store, const char *name, const struct virt_domain *domain,
	const char *uri)
{
	AUTO_CLOSE int dirfd = store_clone_dirfd(store, name);
	struct record *record;
	int found;

	if (dirfd < 0 || record_read(dirfd, &record, NULL) < 0)
		return 0;
	found = record->uuid && strcasecmp(record->uuid, domain->uuid) == 0 &&
		strcmp(record->uri, uri) == 0;
	record_free(record);
	return found;
}

static int not_ours(const struct virt_domain *domain, struct err *err)
{
	err_set(err, -EPERM, "domain %s is not a clone of this store", domain->name);
	err_hint(err, "see the clones: lazyclone list; other machines, hydrated ones too, are "
		"virsh's to remove");
	return -EPERM;
}

/* A domain that was renamed since, or is named by UUID or id. */
static int find_by_domain(struct session *session, const char *text, char **ret_name,
	struct err *err)
{
	struct virt_domain domain;
	struct store *store;
	struct virt *virt;
	char **names;
	uint32_t count;
	int rc = session_need_virt(session, &virt, err);

	if (rc == 0)
		rc = virt_lookup(virt, text, &domain, err);
	if (rc < 0)
		return rc;
	rc = session_need_store(session, false, &store, err);
	if (rc == 0)
		rc = store_list(store, &names, &count, err);
	if (rc == 0) {
		uint32_t i = 0;

		while (i < count && !belongs(store, names[i], &domain, virt_uri(virt)))
			i++;
		if (i == count)
			rc = not_ours(&domain, err);
		else if (!(*ret_name = strdup(names[i])))
			rc = err_sys(err, -ENOMEM, "clone %s", text);
		store_names_free(names, count);
	}
	virt_domain_clear(&domain);
	return rc;
}

static int find(struct session *session, const char *clone, bool take, struct ours *ret_ours,
	struct err *err)
{
	AUTO_FREE char *name = NULL;
	struct err by_domain;
	int rc = store_name_valid(clone)
		? open_ours(session, clone, take, ret_ours, err)
		: err_set(err, -ENOENT, "clone %s: no such clone", clone);

	if (rc != -ENOENT)
		return rc;
	/* Neither: the first message, that there is no such clone, says it best. */
	rc = find_by_domain(session, clone, &name, &by_domain);
	if (rc == -EPERM && err)
		*err = by_domain;
	if (rc < 0)
		return rc == -EPERM ? rc : -ENOENT;
	return open_ours(session, name, take, ret_ours, err);
}

int ours_find(struct session *session, const char *clone, struct ours *ret_ours, struct err *err)
{
	return find(session, clone, false, ret_ours, err);
}

int ours_hold(struct session *session, const char *clone, struct ours *ret_ours, struct err *err)
{
	return find(session, clone, true, ret_ours, err);
}

int ours_take(struct session *session, const char *clone, struct ours *ret_ours, struct err *err)
{
	struct ours ours;
	int rc = ours_hold(session, clone, &ours, err);

	if (rc < 0)
		return rc;
	rc = session_none_pending(session, &ours.manifest->id, err);
	if (rc < 0)
		ours_clear(&ours);
	else
		*ret_ours = ours;
	return rc;
}

int ours_hide(const struct ours *ours, struct ctl *ctl, struct err *err)
{
	return hide_clone(ctl, ours->manifest->name, &ours->manifest->id, err);
}

int ours_show(const struct ours *ours, struct ctl *ctl, struct err *err)
{
	return ctl_attach(ctl, ours->manifest->name, err);
}
