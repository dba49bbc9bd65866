/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a snapshot: see snapshot.h. */
#include "clone/plan/snapshot.h"

#include <errno.h>

#include "clone/plan/instant.h"
#include "clone/plan/interrupt.h"
#include "clone/plan/ours.h"
#include "clone/state/journal.h"
#include "clone/virt/virt.h"
#include "fs/ctl/ctl.h"
#include "fs/util/clock.h"

int snapshot_need(const struct ours *ours, const char *name, struct err *err)
{
	if (manifest_snapshot(ours->manifest, name))
		return 0;
	err_set(err, -ENOENT, "clone %s: it has no snapshot called %s", ours->manifest->name, name);
	err_hint(err, "see them all: lazyclone snapshot %s --list", ours->manifest->name);
	return -ENOENT;
}

static int check_name(const struct ours *ours, const char *name, struct err *err)
{
	if (!store_name_valid(name)) {
		err_set(err, -EINVAL, "'%s' cannot be the name of a snapshot", name);
		err_hint(err, "a name has 1 to %d bytes of UTF-8, no '/', no control character, "
			"and does not begin with a dot", STORE_NAME_MAX);
		return -EINVAL;
	}
	if (!manifest_snapshot(ours->manifest, name))
		return 0;
	err_set(err, -EEXIST, "clone %s: it has a snapshot called %s already",
		ours->manifest->name, name);
	err_hint(err, "delete it first: lazyclone snapshot %s --delete %s", ours->manifest->name,
		name);
	return -EEXIST;
}

static void hint_deep(const struct ours *ours, struct err *err)
{
	err_hint(err, "each snapshot and each clone of a clone adds a layer, %d at most: hydrate it, "
		"or clone the original of %s again", STORE_LAYERS_MAX, ours->manifest->name);
}

/* What it kept for an instant that did not come is dropped; unless nobody
 * knows yet whether it came. */
static int freeze_failed(struct ours *ours, int rc, struct err *err)
{
	if (rc == -EMLINK)
		hint_deep(ours, err);
	if (rc != -ETIMEDOUT && ours_reread(ours, NULL) == 0)
		instant_sweep(ours, NULL);
	return rc;
}

static int freeze_disks(struct ours *ours, struct ctl *ctl, const char *name, struct err *err)
{
	int rc = ctl_snapshot(ctl, ours->manifest->name, name, err);

	return rc < 0 ? freeze_failed(ours, rc, err) : ours_reread(ours, err);
}

int snapshot_freeze(struct ours *ours, struct ctl *ctl, const char *name, struct err *err)
{
	int rc = instant_keep(ours, name, err);

	return rc == 0 ? freeze_disks(ours, ctl, name, err) : rc;
}

static int end_done(struct journal *journal, struct err *err)
{
	int rc = journal_add(journal, JOURNAL_DONE, NULL, NULL, 0, 0, err);

	if (rc < 0)
		journal_close(journal);
	return rc < 0 ? rc : journal_end(journal, err);
}

/* A failure leaves the journal: the next command tries again. */
static int thaw(struct ours *ours, struct journal *journal, struct err *err)
{
	int rc = virt_thaw(ours->virt, ours->record->uuid, err);

	if (rc == 0)
		return end_done(journal, err);
	err_hint(err, "virsh domfsthaw %s; the next lazyclone command tries it too",
		ours->domain.name);
	journal_close(journal);
	return rc;
}

/* An agent that never answers cannot be asked to thaw either: tried once. */
static int not_quiesced(struct ours *ours, struct journal *journal, int rc)
{
	virt_thaw(ours->virt, ours->record->uuid, NULL);
	end_done(journal, NULL);
	instant_sweep(ours, NULL);
	return rc;
}

static int freeze_quiesced(struct ours *ours, struct ctl *ctl, const char *name, struct err *err)
{
	struct journal *journal;
	struct err thaw_err = {0};
	int thawed;
	int rc = journal_begin(store_dirfd(ours->store), &journal, err);

	if (rc < 0)
		return rc;
	rc = journal_add(journal, JOURNAL_QUIESCE, ours->record->uuid, virt_uri(ours->virt), 0, 0,
		err);
	if (rc == 0)
		rc = virt_quiesce(ours->virt, ours->record->uuid, err);
	if (rc < 0)
		return not_quiesced(ours, journal, rc);
	rc = freeze_disks(ours, ctl, name, err);
	thawed = thaw(ours, journal, &thaw_err);
	if (rc == 0 && thawed < 0 && err)
		*err = thaw_err;
	return rc < 0 ? rc : thawed;
}

static int make(struct session *session, struct ours *ours, const char *name, bool quiesce,
	struct snapshot_result *result, struct err *err)
{
	struct ctl *ctl;
	int rc = ours_check_usable(ours, err);

	if (rc == 0)
		rc = check_name(ours, name, err);
	if (rc == 0)
		rc = session_need_daemon(session, true, &ctl, err);
	if (rc == 0)
		rc = ours_show(ours, ctl, err);
	if (rc == 0)
		rc = instant_keep(ours, name, err);
	if (rc < 0)
		return rc;
	rc = interrupt_check(err);
	if (rc < 0) {
		instant_sweep(ours, NULL);
		return rc;
	}
	result->n_disks = ours->manifest->n_disks;
	result->quiesced = quiesce && ours->domain.active;
	return result->quiesced ? freeze_quiesced(ours, ctl, name, err)
				: freeze_disks(ours, ctl, name, err);
}

int snapshot_make(struct session *session, const char *clone, const char *name, bool quiesce,
	struct snapshot_result *ret_result, struct err *err)
{
	uint64_t begun_ns = clock_now_ns();
	struct ours ours;
	int rc = ours_take(session, clone, &ours, err);

	if (rc < 0)
		return rc;
	interrupt_catch();
	*ret_result = (struct snapshot_result){0};
	rc = make(session, &ours, name, quiesce, ret_result, err);
	ret_result->total_ns = clock_now_ns() - begun_ns;
	interrupt_restore();
	ours_clear(&ours);
	return rc;
}

static int drop(struct session *session, struct ours *ours, const char *name, struct err *err)
{
	struct ctl *ctl;
	int rc = snapshot_need(ours, name, err);

	if (rc == 0)
		rc = session_need_daemon(session, true, &ctl, err);
	if (rc == 0)
		rc = ctl_forget(ctl, ours->manifest->name, name, err);
	if (rc == 0)
		rc = ours_reread(ours, err);
	return rc == 0 ? instant_sweep(ours, err) : rc;
}

int snapshot_delete(struct session *session, const char *clone, const char *name,
	struct err *err)
{
	struct ours ours;
	int rc = ours_take(session, clone, &ours, err);

	if (rc < 0)
		return rc;
	interrupt_catch();
	rc = drop(session, &ours, name, err);
	interrupt_restore();
	ours_clear(&ours);
	return rc;
}
