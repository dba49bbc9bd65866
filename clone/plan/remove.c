/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of rm: see remove.h. */
#include "clone/plan/remove.h"

#include <errno.h>

#include "clone/plan/image.h"
#include "clone/plan/interrupt.h"
#include "clone/plan/ours.h"
#include "clone/plan/protect.h"
#include "clone/virt/virt.h"
#include "fs/ctl/ctl.h"
#include "fs/store/store.h"

static int power_off(struct ours *ours, const struct remove_options *options, struct err *err)
{
	if (options->dry_run && options->force)
		return 0;
	return ours_power_off(ours, options->force, err);
}

/* Its domain is an independent machine by now: not ours to remove. */
static int refuse_hydrated(const struct ours *ours, struct err *err)
{
	err_set(err, -EBUSY, "clone %s is hydrated: its domain runs on full images already",
		ours->manifest->name);
	err_hint(err, "let hydrate drop the delta: lazyclone hydrate %s", ours->manifest->name);
	return -EBUSY;
}

/* Whole images of a clone that has no domain any more: another machine may
 * have been defined on them since, and QEMU's locks only tell of running ones. */
static bool leave_images(struct session *session, const struct ours *ours)
{
	const struct record *record = ours->record;

	if (ours->domain.name || record->phase < RECORD_COPIED)
		return false;
	for (uint32_t i = 0; i < record->n_disks; i++)
		if (record->disks[i].image)
			session_notice(session, "the full image %s stays: a hydrate had made it "
				"whole", record->disks[i].image);
	return true;
}

/* What a hydrate that was killed left beside the originals. */
static int drop_images(struct session *session, struct ours *ours, struct err *err)
{
	int rc = 0;

	if (leave_images(session, ours))
		return 0;
	for (uint32_t i = 0; rc == 0 && i < ours->record->n_disks; i++)
		rc = image_drop(&ours->record->disks[i], err);
	return rc;
}

static int undefine(struct ours *ours, struct err *err)
{
	if (!ours->domain.name)
		return 0;
	/* The NVRAM file goes only if the domain still has the one made for it. */
	return virt_undefine(ours->virt, ours->record->uuid, !ours_has_nvram(ours), err);
}

static int remove_ours(struct session *session, struct ours *ours,
	const struct remove_options *options, struct err *err)
{
	struct ctl *ctl = NULL;
	int rc = ours_refuse_frozen(ours, err);

	if (rc == 0)
		rc = ours->hydrated ? refuse_hydrated(ours, err) : power_off(ours, options, err);
	if (rc < 0 || options->dry_run)
		return rc;
	rc = drop_images(session, ours, err);
	if (rc == 0)
		rc = session_daemon_if_up(session, &ctl, err);
	if (rc == 0)
		rc = ours_hide(ours, ctl, err);
	if (rc < 0)
		return rc;
	rc = undefine(ours, err);
	if (rc < 0) {
		if (ctl)
			ctl_attach(ctl, ours->manifest->name, NULL);
		return rc;
	}
	return protect_remove(session, ours->store, ours->manifest, err);
}

int remove_clone(struct session *session, const char *clone, const struct remove_options *options,
	struct err *err)
{
	struct ours ours;
	int rc = ours_take(session, clone, &ours, err);

	if (rc < 0)
		return rc;
	/* A signal in the middle would leave a clone without a domain; the way
	 * to the end is short. */
	interrupt_catch();
	rc = remove_ours(session, &ours, options, err);
	interrupt_restore();
	ours_clear(&ours);
	return rc;
}
