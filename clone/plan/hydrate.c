/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hydrate, step by step; killed anywhere, nothing is lost.
 *
 *	killed                       what is there                 the next run
 *	before the record says       the clone                     begins
 *	  "copying"
 *	while copying                the clone; TEMP files, named  removes them,
 *	                             in the record                 begins anew
 *	between renames              the clone; some images at     the same (an image
 *	                             their final names             is known by inode)
 *	"copied", before the define  the clone; all images         the same: the clone
 *	                                                           may have run since
 *	after the define, before     the domain on its images,     sees the domain on
 *	  "defined" is recorded      the delta, unused             them, goes on below
 *	"defined"                    the same                      drops the delta; of a
 *	                                                           disk without a domain:
 *	                                                           is told, and chooses
 *	delta hidden, not removed    the same                      drops the delta
 *	after the removal            the domain on its images      no such clone
 *
 * From the first byte copied until the domain is defined on the images, the
 * clone's disks are locked as a QEMU reader locks them, so that the clone
 * cannot be started and write what would be missing in the copy.
 */
#include "clone/plan/hydrate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clone/plan/base-notes.h"
#include "clone/plan/copy.h"
#include "clone/plan/image.h"
#include "clone/plan/imagelock.h"
#include "clone/plan/interrupt.h"
#include "clone/plan/ours.h"
#include "clone/plan/protect.h"
#include "clone/virt/virt.h"
#include "clone/xml/domain.h"
#include "fs/ctl/ctl.h"
#include "fs/store/store.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"

struct hydrating {
	struct session *session;
	const struct hydrate_options *options;
	struct ours ours;
	uint32_t n_disks;
	struct copy *copies; /* descriptors of the mounted disks and of the new files */
	uint64_t *data_bytes;
	uint64_t total_bytes, written_bytes;
};

void hydrate_result_clear(struct hydrate_result *result)
{
	for (uint32_t i = 0; result->images && i < result->n_images; i++)
		free(result->images[i]);
	free(result->images);
	memset(result, 0, sizeof(*result));
}

static int set_phase(struct hydrating *h, enum record_phase phase, struct err *err)
{
	h->ours.record->phase = phase;
	return record_write(h->ours.dirfd, h->ours.record, err);
}

/* ---- may it? ---- */

static int check_kind(const struct hydrating *h, struct err *err)
{
	const char *name = h->ours.manifest->name;

	if (!h->options->thaw)
		return ours_refuse_frozen(&h->ours, err);
	if (h->ours.record->frozen)
		return 0;
	err_set(err, -EINVAL, "%s is a clone, not a frozen original", name);
	err_hint(err, "make it independent: lazyclone hydrate %s", name);
	return -EINVAL;
}

static int check_domain(const struct ours *ours, struct err *err)
{
	const struct virt_domain *domain = &ours->domain;

	if (!ours->virt)
		return 0; /* --disk-only */
	if (!domain->name) {
		err_set(err, -ENOENT, "clone %s: its domain is gone", ours->manifest->name);
		err_hint(err, "remove what is left of it: lazyclone rm %s", ours->manifest->name);
		return -ENOENT;
	}
	if (domain->active && !ours->hydrated) {
		err_set(err, -EBUSY, "clone %s is running", ours->manifest->name);
		err_hint(err, "shut it down first: virsh shutdown %s (or destroy, should it hang)",
			domain->name);
		return -EBUSY;
	}
	if (domain->managed_save && !ours->hydrated) {
		err_set(err, -EBUSY, "clone %s has a saved memory image, which names its disks",
			ours->manifest->name);
		err_hint(err, "start it and shut it down, or: virsh managedsave-remove %s",
			domain->name);
		return -EBUSY;
	}
	return 0;
}

/* The record and the manifest were written together; both come from files. */
static int check_disks(const struct ours *ours, struct err *err)
{
	bool same = ours->record->n_disks == ours->manifest->n_disks;

	for (uint32_t i = 0; same && i < ours->record->n_disks; i++)
		same = strcmp(ours->record->disks[i].target, ours->manifest->disks[i].target) == 0;
	if (same)
		return 0;
	return err_set(err, -EUCLEAN, "clone %s: its record and its manifest name other disks",
		ours->manifest->name);
}

/* ---- an earlier run's leavings, or this one's ---- */

/* Does the domain's definition name one of the images? */
static bool names_image(const struct ours *ours)
{
	struct xml_domain *survey;
	bool found = false;

	if (!ours->domain.xml)
		return false;
	if (xml_survey(ours->domain.xml, &survey, NULL) < 0)
		return true; /* cannot tell */
	for (uint32_t i = 0; i < survey->n_disks; i++)
		for (uint32_t j = 0; j < ours->record->n_disks; j++)
			if (survey->disks[i].source && ours->record->disks[j].image &&
				strcmp(survey->disks[i].source, ours->record->disks[j].image) == 0)
				found = true;
	xml_domain_free(survey);
	return found;
}

/* The domain is looked at again: a definition that failed may have been made. */
static int drop_images(struct hydrating *h, struct err *err)
{
	int rc = ours_refresh(&h->ours, err);

	if (rc < 0)
		return rc;
	if (names_image(&h->ours))
		return err_set(err, -EBUSY, "the domain %s names the new image",
			h->ours.domain.name);
	for (uint32_t i = 0; rc == 0 && i < h->n_disks; i++)
		rc = image_drop(&h->ours.record->disks[i], err);
	return rc == 0 ? set_phase(h, RECORD_CLONE, err) : rc;
}

/* Keep the failure that led here; say when cleaning failed as well. */
static void undo(struct hydrating *h, struct err *err)
{
	struct err undo_err;

	if (drop_images(h, &undo_err) < 0)
		err_hint(err, "not all could be undone (%s); run %s again", undo_err.message,
			ours_way_out(&h->ours));
}

/* ---- 1 plan ---- */

static int open_disk(struct hydrating *h, uint32_t i, struct err *err)
{
	const struct store_disk *disk = &h->ours.manifest->disks[i];
	AUTO_FREE char *path = NULL;
	int rc;

	if (asprintf(&path, "%s/%s/%s" STORE_DISK_SUFFIX, session_mountpoint(h->session),
		    h->ours.manifest->name, disk->target) < 0) {
		path = NULL;
		return err_sys(err, -ENOMEM, "disk %s", disk->target);
	}
	h->copies[i].name = disk->target;
	h->copies[i].size_bytes = disk->size_bytes;
	h->copies[i].from_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (h->copies[i].from_fd < 0)
		return err_sys(err, -errno, "cannot open the disk %s", path);
	rc = imagelock_take(h->copies[i].from_fd);
	if (rc == -EBUSY)
		return err_set(err, rc, "the disk %s is in use by a machine", path);
	if (rc == 0)
		rc = copy_data_bytes(
			h->copies[i].from_fd, disk->size_bytes, &h->data_bytes[i]);
	h->total_bytes += h->data_bytes[i];
	return rc < 0 ? err_sys(err, rc, "cannot read the disk %s", path) : 0;
}

static int plan(struct hydrating *h, struct err *err)
{
	struct ctl *ctl;
	int rc = session_need_daemon(h->session, true, &ctl, err);

	if (rc == 0)
		rc = ours_show(&h->ours, ctl, err);
	for (uint32_t i = 0; rc == 0 && i < h->n_disks; i++)
		rc = open_disk(h, i, err);
	for (uint32_t i = 0; rc == 0 && i < h->n_disks; i++)
		rc = image_plan(h->ours.record, i, h->ours.manifest, h->options->to, err);
	return rc == 0 ? image_check_space(h->ours.record, h->data_bytes, err) : rc;
}

/* ---- 2 and 3: copy, publish ---- */

/* The names, before a file of that name is made. */
static int note_names(struct hydrating *h, struct err *err)
{
	int rc = set_phase(h, RECORD_COPYING, err);

	if (rc == -ENOSPC || rc == -EDQUOT)
		err_hint(err, "the store itself needs a few KiB for it: remove a clone, or what else "
			"fills its file system");
	return rc;
}

/* The inodes are recorded before anything else can take the names. */
static int create_images(struct hydrating *h, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < h->n_disks; i++)
		rc = image_create(&h->ours.record->disks[i], h->copies[i].size_bytes,
			&h->copies[i].to_fd, err);
	return rc == 0 ? set_phase(h, RECORD_COPYING, err) : rc;
}

static int publish_images(struct hydrating *h, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < h->n_disks; i++) {
		rc = interrupt_check(err);
		if (rc == 0)
			rc = image_publish(&h->ours.record->disks[i], h->ours.store,
				h->copies[i].to_fd, err);
	}
	return rc == 0 ? set_phase(h, RECORD_COPIED, err) : rc;
}

static int make_images(struct hydrating *h, struct err *err)
{
	int rc = create_images(h, err);

	if (rc == 0)
		rc = copy_run(h->copies, h->n_disks, h->total_bytes, h->options->progress,
			h->options->progress_ctx, &h->written_bytes, err);
	return rc == 0 ? publish_images(h, err) : rc;
}

/* ---- 4 define ---- */

static int restore_request(const struct hydrating *h, struct xml_restore_request *ret_request)
{
	struct xml_new_disk *disks = calloc(h->n_disks, sizeof(*disks));

	if (!disks)
		return -ENOMEM;
	for (uint32_t i = 0; i < h->n_disks; i++) {
		disks[i].target = h->ours.record->disks[i].target;
		disks[i].path = h->ours.record->disks[i].image;
		disks[i].driver = h->ours.record->disks[i].driver;
	}
	*ret_request = (struct xml_restore_request){.n_disks = h->n_disks, .disks = disks};
	return 0;
}

/* What libvirt made of it is not what was asked for: back to the clone. */
static int define_back(struct hydrating *h, const char *why, struct err *err)
{
	struct err back;

	err_set(err, -EIO, "libvirt did not keep what was asked for: %s", why);
	if (virt_define(h->ours.virt, h->ours.domain.xml, NULL, &back) < 0)
		err_hint(err, "the clone's definition could not be put back: %s", back.message);
	return -EIO;
}

static int define_with(struct hydrating *h, const struct xml_restore_request *request,
	struct err *err)
{
	AUTO_FREE char *xml = NULL;
	AUTO_FREE char *defined = NULL;
	struct err difference;
	int rc = xml_restore(h->ours.domain.xml, request, &xml, err);

	if (rc == 0)
		rc = virt_define(h->ours.virt, xml, &defined, err);
	if (rc < 0)
		return rc;
	if (xml_check_restored(defined, request, &difference) < 0)
		return define_back(h, difference.message, err);
	return 0;
}

/* The definition may have been edited since it was looked at: take it as it is now. */
static int define(struct hydrating *h, struct err *err)
{
	struct xml_restore_request request;
	int rc = interrupt_check(err);

	if (rc < 0 || !h->ours.virt)
		return rc;
	rc = ours_refresh(&h->ours, err);
	if (rc == 0)
		rc = check_domain(&h->ours, err);
	if (rc == 0 && restore_request(h, &request) < 0)
		rc = err_sys(err, -ENOMEM, "clone %s", h->ours.manifest->name);
	if (rc < 0)
		return rc;
	rc = define_with(h, &request, err);
	free((void *)request.disks);
	return rc;
}

/* ---- 5 drop the delta ---- */

static void close_disks(struct hydrating *h)
{
	for (uint32_t i = 0; i < h->n_disks; i++) {
		close_fd(&h->copies[i].from_fd);
		close_fd(&h->copies[i].to_fd);
	}
}

static int drop_delta(struct hydrating *h, struct err *err)
{
	const struct manifest *manifest = h->ours.manifest;
	struct ctl *ctl = NULL;
	int rc;

	close_disks(h);
	rc = session_daemon_if_up(h->session, &ctl, err);
	if (rc == 0)
		rc = ours_hide(&h->ours, ctl, err);
	if (rc == 0)
		rc = protect_remove(h->session, h->ours.store, manifest, err);
	if (rc == 0)
		base_notes_sweep(h->ours.store);
	if (rc < 0) {
		err_prefix(err, "%s is hydrated, but its delta cannot be dropped", manifest->name);
		err_hint(err, "run it again: lazyclone %s %s",
			h->ours.virt ? ours_way_out(&h->ours) : "rm", manifest->name);
	}
	return rc;
}

/* ---- all of it ---- */

static int make_and_define(struct hydrating *h, struct err *err)
{
	int rc = make_images(h, err);

	if (rc == 0)
		rc = define(h, err);
	if (rc < 0)
		undo(h, err);
	return rc;
}

/* No domain says whether the disk or its whole image was used since. */
static int check_undecided(const struct ours *ours, struct err *err)
{
	const struct record_disk *disk = &ours->record->disks[0];
	const char *name = ours->manifest->name;

	if (ours->virt || ours->record->phase != RECORD_DEFINED || !image_there(disk))
		return 0;
	err_set(err, -EEXIST, "disk %s is hydrated already: its full image is %s", name,
		disk->image);
	err_hint(err, "keep the image: lazyclone rm %s; or remove the image, and hydrate again",
		name);
	return -EEXIST;
}

/* A domain on its images says it itself; a full store is no reason to keep
 * what fills it. */
static int note_defined(struct hydrating *h, struct err *err)
{
	int rc = set_phase(h, RECORD_DEFINED, err);

	return h->ours.virt && (rc == -ENOSPC || rc == -EDQUOT) ? 0 : rc;
}

static int hydrate(struct hydrating *h, struct err *err)
{
	int rc = check_kind(h, err);

	if (rc == 0)
		rc = check_domain(&h->ours, err);
	if (rc == 0)
		rc = check_disks(&h->ours, err);
	if (rc == 0)
		rc = check_undecided(&h->ours, err);
	if (rc < 0)
		return rc;
	if (!h->ours.hydrated) {
		if (h->ours.record->phase != RECORD_CLONE)
			rc = drop_images(h, err);
		if (rc == 0)
			rc = plan(h, err);
		if (rc == 0)
			rc = note_names(h, err);
		if (rc == 0)
			rc = make_and_define(h, err);
	}
	if (rc == 0)
		rc = note_defined(h, err);
	return rc == 0 ? drop_delta(h, err) : rc;
}

static int take_result(const struct hydrating *h, uint64_t begun_ns,
	struct hydrate_result *ret_result)
{
	struct hydrate_result result = {
		.copied_bytes = h->written_bytes, .total_ns = clock_now_ns() - begun_ns};

	result.images = calloc((size_t)h->n_disks + 1, sizeof(*result.images));
	if (!result.images)
		return -ENOMEM;
	for (; result.n_images < h->n_disks; result.n_images++) {
		result.images[result.n_images] =
			strdup(h->ours.record->disks[result.n_images].image);
		if (!result.images[result.n_images]) {
			hydrate_result_clear(&result);
			return -ENOMEM;
		}
	}
	*ret_result = result;
	return 0;
}

static int hydrating_init(struct hydrating *h)
{
	h->n_disks = h->ours.record->n_disks;
	h->copies = calloc((size_t)h->n_disks + 1, sizeof(*h->copies));
	h->data_bytes = calloc((size_t)h->n_disks + 1, sizeof(*h->data_bytes));
	if (!h->copies || !h->data_bytes) {
		h->n_disks = 0;
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < h->n_disks; i++)
		h->copies[i].from_fd = h->copies[i].to_fd = -1;
	return 0;
}

int hydrate_clone(struct session *session, const char *clone,
	const struct hydrate_options *options, struct hydrate_result *ret_result, struct err *err)
{
	struct hydrating h = {.session = session, .options = options};
	uint64_t begun_ns = clock_now_ns();
	int rc = ours_take(session, clone, &h.ours, err);

	if (rc < 0)
		return rc;
	interrupt_catch();
	rc = hydrating_init(&h) < 0 ? err_sys(err, -ENOMEM, "clone %s", clone) : hydrate(&h, err);
	if (rc == 0 && take_result(&h, begun_ns, ret_result) < 0)
		rc = err_sys(err, -ENOMEM, "clone %s", clone);
	close_disks(&h);
	interrupt_restore();
	free(h.copies);
	free(h.data_bytes);
	ours_clear(&h.ours);
	return rc;
}
