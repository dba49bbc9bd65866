/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan of one clone and its steps: see making.h. */
#include "clone/plan/making.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clone/plan/interrupt.h"
#include "clone/plan/nvram.h"
#include "clone/plan/ours.h"
#include "clone/plan/stacked.h"
#include "fs/ctl/ctl.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"
#include "fs/util/io.h"
#include "fs/util/round.h"

#define SECTOR_BYTES 512
#define DISK_MODE 0600

void making_clear(struct making *making)
{
	for (uint32_t i = 0; making->paths && i < making->origin->n_disks; i++)
		free(making->paths[i]);
	free(making->paths);
	free(making->name);
	free(making->macs);
	free(making->nvram);
	free(making->new_disks);
	manifest_free(making->manifest);
	record_free(making->record);
	if (making->stage)
		store_stage_abort(making->stage);
	free(making->xml);
	xml_changes_free(making->changes);
	close_fd(&making->lock_fd);
	memset(making, 0, sizeof(*making));
	making->lock_fd = -1;
}

/* ---- planning ---- */

static int plan_paths(struct making *making)
{
	const struct origin *origin = making->origin;

	making->paths = calloc((size_t)origin->n_disks + 1, sizeof(*making->paths));
	making->new_disks = calloc((size_t)origin->n_disks + 1, sizeof(*making->new_disks));
	if (!making->paths || !making->new_disks)
		return -ENOMEM;
	for (uint32_t i = 0; i < origin->n_disks; i++) {
		const char *target = origin->disks[i].target;

		if (asprintf(&making->paths[i], "%s/%s/%s" STORE_DISK_SUFFIX, making->mountpoint,
			    making->name, target) < 0) {
			making->paths[i] = NULL;
			return -ENOMEM;
		}
		making->new_disks[i].target = target;
		making->new_disks[i].path = making->paths[i];
	}
	return 0;
}

static int plan_layers(struct store_disk *disk, const struct origin_disk *from)
{
	if (from->n_layers == 0)
		return 0;
	disk->layers = calloc(from->n_layers, sizeof(*disk->layers));
	if (!disk->layers)
		return -ENOMEM;
	memcpy(disk->layers, from->layers, from->n_layers * sizeof(*disk->layers));
	disk->n_layers = from->n_layers;
	return 0;
}

static int plan_manifest(struct making *making)
{
	const struct origin *origin = making->origin;
	int rc = manifest_new(making->name, &making->manifest);

	for (uint32_t i = 0; rc == 0 && i < origin->n_disks; i++) {
		const struct origin_disk *from = &origin->disks[i];
		struct store_disk *disk = manifest_add_disk(making->manifest, from->target);

		if (!disk)
			return -ENOMEM;
		disk->size_bytes = round_up(from->size_bytes, SECTOR_BYTES);
		disk->base_limit_bytes = from->base_limit_bytes;
		disk->base_path = strdup(from->path);
		disk->base_format = strdup(from->format);
		disk->base_identity = strdup(from->identity);
		disk->uid = origin->uid;
		disk->gid = origin->gid;
		disk->mode = DISK_MODE;
		if (!disk->base_path || !disk->base_format || !disk->base_identity)
			return -ENOMEM;
		rc = plan_layers(disk, from);
	}
	if (rc == 0)
		making->manifest->quota_bytes = making->quota_bytes;
	return rc;
}

static int copy_text(char **field, const char *text)
{
	if (!text)
		return 0;
	*field = strdup(text);
	return *field ? 0 : -ENOMEM;
}

static int plan_record_disks(struct making *making)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < making->origin->n_disks; i++) {
		const struct origin_disk *from = &making->origin->disks[i];
		struct record_disk *disk = &making->record->disks[i];

		rc = copy_text(&disk->target, from->target);
		if (rc == 0)
			rc = copy_text(&disk->source, from->source ? from->source : from->path);
		if (rc == 0)
			rc = copy_text(&disk->driver, from->driver);
	}
	return rc;
}

static int plan_record(struct making *making)
{
	const struct origin *origin = making->origin;
	struct record *record = record_new(origin->n_disks);
	int rc;

	if (!record)
		return -ENOMEM;
	making->record = record;
	record->created_sec = making->manifest->created_sec;
	record->frozen = making->freeze;
	rc = plan_record_disks(making);
	if (rc < 0 || !making->virt)
		return rc;
	if (copy_text(&record->uri, virt_uri(making->virt)) < 0 ||
		copy_text(&record->uuid, making->uuid) < 0 ||
		copy_text(&record->source_name, origin->domain.name) < 0 ||
		copy_text(&record->source_uuid, origin->domain.uuid) < 0 ||
		copy_text(&record->nvram, making->nvram) < 0)
		return -ENOMEM;
	return 0;
}

static int plan_macs(struct making *making, struct census *census, struct err *err)
{
	const struct xml_domain *scanned = making->origin->scanned;
	int rc = 0;

	making->macs = calloc((size_t)scanned->n_macs + 1, sizeof(*making->macs));
	if (!making->macs)
		return err_sys(err, -ENOMEM, "clone %s", making->name);
	for (uint32_t i = 0; rc == 0 && i < scanned->n_macs; i++)
		rc = census_mac(census, scanned->macs[i], making->macs[i], err);
	return rc;
}

/* What a frozen original has stays its own. */
static int plan_same(struct making *making, struct err *err)
{
	const struct origin *origin = making->origin;
	const struct xml_domain *scanned = origin->scanned;

	memcpy(making->uuid, origin->domain.uuid, sizeof(making->uuid));
	making->macs = calloc((size_t)scanned->n_macs + 1, sizeof(*making->macs));
	if (!making->macs || copy_text(&making->nvram, scanned->nvram) < 0)
		return err_sys(err, -ENOMEM, "domain %s", making->name);
	memcpy(making->macs, scanned->macs, scanned->n_macs * sizeof(*making->macs));
	return 0;
}

static int plan_new(struct making *making, struct census *census, struct err *err)
{
	int rc = plan_macs(making, census, err);

	census_uuid(census, making->uuid);
	if (rc == 0 && making->origin->scanned->nvram)
		rc = nvram_path(making->virt, making->name, &making->nvram, err);
	return rc;
}

static int plan_xml(struct making *making, struct err *err)
{
	const struct origin *origin = making->origin;

	making->request = (struct xml_request){
		.name = making->name,
		.uuid = making->uuid,
		.n_disks = origin->n_disks,
		.disks = making->new_disks,
		.n_macs = origin->scanned->n_macs,
		.macs = (const char (*)[XML_MAC_TEXT])making->macs,
		.nvram = making->nvram,
		.dac_label = origin->dac_label,
		.frozen = making->freeze,
		.store = making->store_path,
		.source_name = origin->domain.name,
		.source_uuid = origin->domain.uuid,
		.created_sec = making->manifest->created_sec,
	};
	return xml_rewrite(
		origin->domain.xml, &making->request, &making->xml, &making->changes, err);
}

static int plan_domain(struct making *making, struct census *census, struct err *err)
{
	int rc = making->freeze ? plan_same(making, err) : plan_new(making, census, err);

	return rc == 0 ? plan_xml(making, err) : rc;
}

int making_plan(struct making *making, char *name, struct census *census, struct err *err)
{
	int rc;

	making->name = name;
	rc = plan_paths(making);
	if (rc == 0)
		rc = plan_manifest(making);
	if (rc < 0)
		return err_sys(err, rc, "clone %s", name);
	if (making->virt) {
		rc = plan_domain(making, census, err);
		if (rc < 0)
			return rc;
	}
	rc = plan_record(making);
	return rc < 0 ? err_sys(err, rc, "clone %s", name) : 0;
}

/* ---- the steps ---- */

/* Held until all of the clone is there: its name is seen from the commit on. */
static int add_lock(struct making *making, int dirfd, struct err *err)
{
	int rc;

	making->lock_fd = openat(dirfd, OURS_LOCK_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		0600);
	rc = making->lock_fd < 0 ? -errno : io_lock(making->lock_fd, true, 0, 1);
	return rc < 0 ? err_sys(err, rc, "cannot make the clone's lock") : 0;
}

static int keep_nvram(const struct origin *origin, int dirfd, struct err *err)
{
	if (origin->stacked)
		return stacked_keep_nvram(origin, dirfd, err);
	return nvram_keep(AT_FDCWD, origin->scanned->nvram, dirfd, RECORD_NVRAM, err);
}

/* The way back, for undo and for people: secrets in it are root's. */
static int keep_definition(const struct making *making, int dirfd, struct err *err)
{
	const char *xml = making->origin->domain.xml;
	int rc = io_write_file(&io_kernel, dirfd, RECORD_ORIGINAL, xml, strlen(xml), 0600);

	return rc < 0 ? err_sys(err, rc, "cannot keep the definition of %s", making->name) : 0;
}

static int add_files(struct making *making, struct err *err)
{
	int dirfd = store_stage_dirfd(making->stage);
	int rc = add_lock(making, dirfd, err);

	if (rc == 0)
		rc = record_write_new(dirfd, making->record, err);
	if (rc == 0 && making->nvram)
		rc = keep_nvram(making->origin, dirfd, err);
	if (rc >= 0 && making->freeze)
		rc = keep_definition(making, dirfd, err);
	return rc < 0 ? rc : 0;
}

/* All that is known by name beforehand goes into the journal in one write. */
static int note_all(struct making *making, struct err *err)
{
	char id[ID_TEXT];
	int rc;

	id_format(&making->manifest->id, id); /* also the stage's name */
	rc = journal_note(making->journal, JOURNAL_STAGE, id, NULL, 0, 0, err);
	if (rc == 0)
		rc = journal_note(making->journal, JOURNAL_CLONE, making->name, id, 0, 0, err);
	if (rc == 0 && making->virt)
		rc = journal_note(making->journal,
			making->freeze ? JOURNAL_FREEZE : JOURNAL_DOMAIN, making->uuid,
			virt_uri(making->virt), 0, 0, err);
	return rc == 0 ? journal_sync(making->journal, err) : rc;
}

static int step_stage(struct making *making, struct err *err)
{
	int rc = note_all(making, err);

	if (rc == 0)
		rc = store_stage(making->store, making->manifest, &making->stage, err);
	return rc == 0 ? add_files(making, err) : rc;
}

static int step_commit(struct making *making, struct err *err)
{
	return store_commit(steal_ptr(&making->stage), err);
}

/* What the daemon shows is what QEMU will open: looked at from outside. */
static int check_shown(const struct making *making, struct err *err)
{
	for (uint32_t i = 0; i < making->manifest->n_disks; i++) {
		struct stat st;

		if (stat(making->paths[i], &st) < 0)
			return err_sys(err, -errno, "the daemon does not show the disk %s",
				making->paths[i]);
		if ((uint64_t)st.st_size != making->manifest->disks[i].size_bytes)
			return err_set(err, -EIO, "the disk %s has not the size it was made with",
				making->paths[i]);
	}
	return 0;
}

static int step_attach(struct making *making, struct err *err)
{
	int rc = ctl_attach(making->ctl, making->name, err);

	return rc == 0 ? check_shown(making, err) : rc;
}

static int step_nvram(struct making *making, struct err *err)
{
	const char *original = making->nvram ? making->origin->scanned->nvram : NULL;
	AUTO_CLOSE int dirfd = -1;
	struct stat st;

	if (!original || making->freeze)
		return 0;
	dirfd = store_clone_dirfd(making->store, making->name);
	if (dirfd < 0)
		return err_sys(err, dirfd, "clone %s", making->name);
	if (fstatat(dirfd, RECORD_NVRAM, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0; /* the original never ran */
	return nvram_install(dirfd, original, making->nvram, making->journal, err);
}

/* Why it was not defined: libvirt says it in words only. */
static bool name_was_taken(const struct making *making)
{
	struct virt_domain domain;

	if (virt_lookup_uuid(making->virt, making->uuid, &domain, NULL) == 0) {
		virt_domain_clear(&domain);
		return false; /* by ourselves */
	}
	return virt_name_taken(making->virt, making->name, NULL) == 1;
}

/* The original's definition is about to be replaced: not what was edited since. */
static int check_unchanged(const struct making *making, struct err *err)
{
	struct virt_domain domain;
	bool same;
	int rc = virt_lookup_uuid(making->virt, making->uuid, &domain, err);

	if (rc < 0)
		return rc;
	same = !domain.active && !domain.managed_save &&
		strcmp(domain.xml, making->origin->domain.xml) == 0;
	virt_domain_clear(&domain);
	return same ? 0
		    : err_set(err, -EBUSY, "domain %s was started or edited just now", making->name);
}

static int step_define(struct making *making, struct err *err)
{
	struct err difference;
	char *defined;
	int rc;

	if (!making->virt)
		return 0;
	rc = making->freeze ? check_unchanged(making, err) : 0;
	if (rc == 0)
		rc = virt_define(making->virt, making->xml, &defined, err);
	if (rc < 0 && !making->freeze && name_was_taken(making))
		return err_set(err, -EEXIST, "%s: a domain of that name was defined just now",
			making->name);
	if (rc < 0)
		return rc;
	free(making->xml);
	making->xml = defined;
	/* "Partly done" is for runs of many; this one is undone. */
	if (xml_check(defined, &making->request, &difference) < 0)
		return err_set(err, -EIO, "libvirt did not keep what was asked for: %s",
			difference.message);
	return 0;
}

static const struct step {
	int (*run)(struct making *making, struct err *err);
	bool in_store; /* counts as the store part */
} steps[] = {
	{step_stage, true},
	{step_commit, true},
	{step_attach, false},
	{step_nvram, false},
	{step_define, false},
};

int making_run(struct making *making, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(steps) / sizeof(steps[0]); i++) {
		uint64_t begun_ns = clock_now_ns();

		rc = interrupt_check(err);
		if (rc == 0)
			rc = steps[i].run(making, err);
		if (steps[i].in_store)
			making->store_ns += clock_now_ns() - begun_ns;
	}
	return rc == 0 ? interrupt_check(err) : rc;
}
