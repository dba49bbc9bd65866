/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cloning a clone: see stacked.h. */
#include "clone/plan/stacked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clone/plan/instant.h"
#include "clone/plan/nvram.h"
#include "clone/plan/snapshot.h"
#include "clone/state/kept.h"
#include "fs/util/cleanup.h"

void stacked_free(struct stacked *stacked)
{
	if (!stacked)
		return;
	ours_clear(&stacked->ours);
	free(stacked);
}

/* ---- finding ---- */

/* Does the domain carry our mark, of this store? Of another one it is refused. */
static int is_clone(struct session *session, const struct virt_domain *domain, struct err *err)
{
	struct xml_provenance mark;
	struct store *store;
	int rc = xml_provenance(domain->xml, &mark);

	if (rc <= 0)
		return 0;
	rc = session_need_store(session, false, &store, err);
	if (rc == -ENOENT || (rc == 0 && strcmp(mark.store, store_path(store)) != 0)) {
		rc = err_set(err, -EOPNOTSUPP, "domain %s: it is a clone of another store, %s",
			domain->name, mark.store);
		err_hint(err, "clone it there: lazyclone --store %s clone %s", mark.store,
			domain->name);
	}
	xml_provenance_clear(&mark);
	return rc < 0 ? rc : 1;
}

static int find_ours(struct session *session, const struct virt_domain *domain, bool take,
	struct ours *ours, struct err *err)
{
	int (*find)(struct session *, const char *, struct ours *, struct err *) =
		take ? ours_take : ours_find;
	int rc = find(session, domain->name, ours, err);

	if (rc == 0 && ours->record->uuid && strcasecmp(ours->record->uuid, domain->uuid) == 0)
		return 0;
	if (rc == 0)
		ours_clear(ours);
	else if (rc != -ENOENT && rc != -EPERM)
		return rc;
	/* It was renamed since it was made. */
	return find(session, domain->uuid, ours, err);
}

static int check_found(const struct stacked *stacked, struct err *err)
{
	int rc = ours_check_usable(&stacked->ours, err);

	return rc == 0 && stacked->snapshot ? snapshot_need(&stacked->ours, stacked->snapshot, err)
					    : rc;
}

int stacked_find(struct session *session, const struct virt_domain *domain, const char *snapshot,
	bool take, struct stacked **ret_stacked, struct err *err)
{
	struct stacked *stacked;
	int rc = is_clone(session, domain, err);

	*ret_stacked = NULL;
	if (rc == 0 && snapshot) {
		err_set(err, -EOPNOTSUPP, "domain %s is no clone: it has no snapshots of lazyclone",
			domain->name);
		err_hint(err, "clone it as it is: without --snapshot");
		return -EOPNOTSUPP;
	}
	if (rc <= 0)
		return rc;
	stacked = calloc(1, sizeof(*stacked));
	if (!stacked)
		return err_sys(err, -ENOMEM, "domain %s", domain->name);
	stacked->snapshot = snapshot;
	rc = find_ours(session, domain, take, &stacked->ours, err);
	if (rc < 0) {
		free(stacked);
		return rc;
	}
	rc = check_found(stacked, err);
	if (rc < 0) {
		stacked_free(stacked);
		return rc;
	}
	*ret_stacked = stacked;
	return 0;
}

/* ---- disks ---- */

static const struct store_disk *disk_of(const struct manifest *manifest, const char *target)
{
	for (uint32_t i = 0; i < manifest->n_disks; i++)
		if (strcmp(manifest->disks[i].target, target) == 0)
			return &manifest->disks[i];
	return NULL;
}

static bool copy_text(char **field, const char *text)
{
	free(*field);
	*field = text ? strdup(text) : NULL;
	return *field || !text;
}

/* Does the path end as the daemon's name of that disk does? */
static bool is_shown_as(const char *path, const char *mountpoint, const char *clone,
	const char *target)
{
	AUTO_FREE char *shown = NULL;

	if (asprintf(&shown, "%s/%s/%s" STORE_DISK_SUFFIX, mountpoint, clone, target) < 0) {
		shown = NULL;
		return false;
	}
	return mountpoint[0] ? strcmp(path, shown) == 0
			     : strlen(path) > strlen(shown) &&
				       strcmp(path + strlen(path) - strlen(shown), shown) == 0;
}

int stacked_take_disk(const struct stacked *stacked, const struct xml_disk *from,
	struct origin_disk *disk, struct err *err)
{
	const struct manifest *manifest = stacked->ours.manifest;
	const struct store_disk *below = disk_of(manifest, from->target);
	const struct record_disk *record =
		record_disk_find(stacked->ours.record, from->target);

	/* Where it is mounted is known later: stacked_share() looks again. */
	if (!below || !record || !from->source ||
		!is_shown_as(from->source, "", manifest->name, from->target))
		return 0;
	disk->stacked = true;
	if (!copy_text(&disk->target, from->target) || !copy_text(&disk->path, below->base_path) ||
		!copy_text(&disk->format, below->base_format) ||
		!copy_text(&disk->source, record->source) ||
		!copy_text(&disk->driver, record->driver) ||
		!copy_text(&disk->shown, from->source) ||
		!copy_text(&disk->identity, below->base_identity))
		return err_sys(err, -ENOMEM, "disk %s", from->target);
	return 1;
}

static int share_disk(const struct stacked *stacked, struct origin_disk *disk)
{
	const struct manifest *manifest = stacked->ours.manifest;
	const struct store_disk *from = disk_of(manifest, disk->target);
	const struct store_snapshot *snapshot =
		stacked->snapshot ? manifest_snapshot(manifest, stacked->snapshot) : NULL;
	uint32_t top;

	if (!from || (stacked->snapshot && !snapshot))
		return -ESTALE;
	top = snapshot ? manifest_snapshot_top(manifest, snapshot, from) : 0;
	disk->size_bytes = from->size_bytes;
	disk->base_limit_bytes = from->base_limit_bytes;
	disk->n_layers = from->n_layers - top;
	disk->layers = calloc((size_t)disk->n_layers + 1, sizeof(*disk->layers));
	if (!disk->layers)
		return -ENOMEM;
	if (disk->n_layers > 0)
		memcpy(disk->layers, from->layers + top, disk->n_layers * sizeof(*disk->layers));
	return 0;
}

int stacked_look(const struct stacked *stacked, struct origin *origin, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < origin->n_disks; i++)
		if (origin->disks[i].stacked)
			rc = share_disk(stacked, &origin->disks[i]);
	return rc < 0 ? err_sys(err, rc, "clone %s", stacked->ours.manifest->name) : 0;
}

/* The file that the machine has is the disk that the manifest means. */
static int check_shown(const struct stacked *stacked, const struct origin *origin,
	const char *mountpoint, struct err *err)
{
	const char *clone = stacked->ours.manifest->name;

	for (uint32_t i = 0; i < origin->n_disks; i++) {
		const struct origin_disk *disk = &origin->disks[i];

		if (!disk->stacked || is_shown_as(disk->shown, mountpoint, clone, disk->target))
			continue;
		err_set(err, -EOPNOTSUPP, "disk %s: its image %s is not what the daemon shows at %s",
			disk->target, disk->shown, mountpoint);
		err_hint(err, "mount the store where it was mounted: lazyclone umount; lazyclone "
			"mount MOUNTPOINT");
		return -EOPNOTSUPP;
	}
	return 0;
}

int stacked_share(struct stacked *stacked, struct origin *origin, struct ctl *ctl,
	const char *mountpoint, struct err *err)
{
	int rc = check_shown(stacked, origin, mountpoint, err);

	if (rc == 0 && !stacked->snapshot)
		rc = ours_show(&stacked->ours, ctl, err);
	if (rc == 0 && !stacked->snapshot)
		rc = snapshot_freeze(&stacked->ours, ctl, NULL, err);
	return rc == 0 ? stacked_look(stacked, origin, err) : rc;
}

/* ---- NVRAM ---- */

/* The source's NVRAM of an instant as a file of the stage. 1 made, 0 it had none. */
static int keep_instant(const struct ours *source, const char *to, int dirfd, const char *file,
	struct err *err)
{
	char from[KEPT_TEXT_MAX + 1];
	enum instant_nvram what;
	int rc = instant_find(source, to, &what, from, err);

	if (rc < 0 || what != INSTANT_NVRAM_PUT)
		return rc;
	return nvram_keep(source->dirfd, from, dirfd, file, err);
}

static int keep_now(const struct origin *origin, int dirfd, struct err *err)
{
	const struct stacked *stacked = origin->stacked;

	if (stacked->snapshot && ours_has_nvram(&stacked->ours))
		return keep_instant(
			&stacked->ours, stacked->snapshot, dirfd, RECORD_NVRAM, err);
	return nvram_keep(AT_FDCWD, origin->scanned->nvram, dirfd, RECORD_NVRAM, err);
}

static int add_base(const struct ours *source, int dirfd, struct kept *kept, struct err *err)
{
	char file[KEPT_FILE_TEXT];
	struct kept_entry entry = {.base = true};
	int rc;

	kept_file_new(file);
	rc = keep_instant(source, "", dirfd, file, err);
	if (rc < 0)
		return rc;
	entry.file = rc > 0 ? file : NULL;
	rc = kept_add(kept, &entry);
	return rc < 0 ? err_sys(err, rc, "cannot keep a copy of the NVRAM") : 0;
}

/* The instant of the cloning: its topmost layers. */
static int add_now(const struct origin *origin, bool has_file, struct kept *kept)
{
	AUTO_FREE struct id *tops = calloc((size_t)origin->n_disks + 1, sizeof(*tops));
	struct kept_entry entry = {
		.logs = tops, .file = has_file ? (char *)RECORD_NVRAM : NULL};

	if (!tops)
		return -ENOMEM;
	for (uint32_t i = 0; i < origin->n_disks; i++)
		if (origin->disks[i].n_layers > 0)
			tops[entry.n_logs++] = origin->disks[i].layers[0].id;
	return entry.n_logs > 0 ? kept_add(kept, &entry) : 0;
}

int stacked_keep_nvram(const struct origin *origin, int stage_dirfd, struct err *err)
{
	struct kept *kept;
	int has_file = keep_now(origin, stage_dirfd, err);
	int rc;

	if (has_file < 0)
		return has_file;
	kept = kept_new();
	if (!kept)
		return err_sys(err, -ENOMEM, "cannot keep a copy of the NVRAM");
	rc = add_now(origin, has_file > 0, kept);
	if (rc < 0)
		err_sys(err, rc, "cannot keep a copy of the NVRAM");
	/* Without a layer the instant of the cloning is the base. */
	if (rc == 0 && kept->count > 0)
		rc = add_base(&origin->stacked->ours, stage_dirfd, kept, err);
	if (rc == 0 && kept->count > 0)
		rc = kept_write_new(stage_dirfd, kept, err);
	kept_free(kept);
	return rc;
}
