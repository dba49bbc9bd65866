/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a reset, and how a killed one is settled: see reset.h. */
#include "clone/plan/reset.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clone/plan/hide.h"
#include "clone/plan/instant.h"
#include "clone/plan/interrupt.h"
#include "clone/plan/nvram.h"
#include "clone/plan/ours.h"
#include "clone/plan/snapshot.h"
#include "clone/virt/virt.h"
#include "fs/ctl/ctl.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"

struct resetting {
	struct session *session;
	const struct reset_options *options;
	struct ours *ours;
	struct ctl *ctl;
	struct journal *journal;
	enum instant_nvram what;
	char file[KEPT_TEXT_MAX + 1]; /* the copy to put back */
	char *temp;                   /* where it waits */
	uint64_t mark;                /* of the deltas before */
};

/* ---- may it? ---- */

static int check_saved(const struct ours *ours, struct err *err)
{
	if (!ours->domain.managed_save)
		return 0;
	err_set(err, -EBUSY, "clone %s has a saved memory image, which belongs to its disks as "
		"they are now", ours->manifest->name);
	err_hint(err, "drop it: virsh managedsave-remove %s", ours->domain.name);
	return -EBUSY;
}

/* Index of the layer that the disk goes back to. */
static uint32_t top_of(const struct manifest *m, const char *to, const struct store_disk *disk)
{
	const struct store_snapshot *snapshot = to && to[0] ? manifest_snapshot(m, to) : NULL;

	if (!to)
		return 0;
	return snapshot ? manifest_snapshot_top(m, snapshot, disk) : disk->n_layers;
}

/* A snapshot that stands on a layer that goes. */
static bool would_lose(const struct manifest *m, const struct store_snapshot *snapshot,
	const char *to)
{
	for (uint32_t i = 0; i < m->n_disks; i++)
		if (manifest_snapshot_top(m, snapshot, &m->disks[i]) < top_of(m, to, &m->disks[i]))
			return true;
	return false;
}

/* The newest snapshot that would lose layers, or NULL. */
static const char *loser(const struct manifest *m, const char *to)
{
	for (uint32_t i = m->n_snapshots; i > 0; i--)
		if (would_lose(m, &m->snapshots[i - 1], to))
			return m->snapshots[i - 1].name;
	return NULL;
}

static int check_newer(const struct ours *ours, const struct reset_options *options,
	struct err *err)
{
	const char *name = ours->manifest->name;
	const char *last = loser(ours->manifest, options->to);

	if (!last || options->force)
		return 0;
	err_set(err, -EBUSY, "clone %s: its snapshot %s is newer than that, and would be dropped",
		name, last);
	err_hint(err, "clone it first (lazyclone clone %s --snapshot %s), or drop it with --force",
		name, last);
	return -EBUSY;
}

static int check_start(const struct ours *ours, const struct reset_options *options,
	struct err *err)
{
	if (!options->start || ours->virt)
		return 0;
	err_set(err, -EINVAL, "clone %s is a disk alone, which cannot be started",
		ours->manifest->name);
	err_hint(err, "reset it without --start");
	return -EINVAL;
}

static int check(struct resetting *r, struct err *err)
{
	const char *to = r->options->to;
	int rc = ours_refuse_frozen(r->ours, err);

	if (rc == 0)
		rc = ours_check_usable(r->ours, err);

	if (rc == 0)
		rc = check_start(r->ours, r->options, err);
	if (rc == 0 && to && to[0])
		rc = snapshot_need(r->ours, to, err);
	if (rc == 0)
		rc = check_saved(r->ours, err);
	if (rc == 0)
		rc = check_newer(r->ours, r->options, err);
	if (rc == 0)
		rc = instant_find(r->ours, to, &r->what, r->file, err);
	return rc;
}

/* ---- the steps ---- */

static int note(struct resetting *r, struct err *err)
{
	char id[ID_TEXT];
	int rc = journal_begin(store_dirfd(r->ours->store), &r->journal, err);

	if (rc < 0)
		return rc;
	id_format(&r->ours->manifest->id, id);
	r->mark = instant_mark(r->ours->manifest);
	return journal_add(r->journal, JOURNAL_RESET, r->ours->manifest->name, id, r->mark, r->what,
		err);
}

static int prepare_nvram(struct resetting *r, struct err *err)
{
	if (r->what != INSTANT_NVRAM_PUT)
		return 0;
	return nvram_prepare(r->ours->dirfd, r->file, r->ours->record->nvram, r->journal, &r->temp,
		err);
}

/* QEMU's descriptors are let go a moment after it ended. */
static int reset_disks(struct resetting *r, struct err *err)
{
	const char *name = r->ours->manifest->name;
	struct timespec pause = {.tv_nsec = 10000000};
	int64_t deadline_ms = clock_now_ms() + HIDE_PATIENCE_MS;
	int rc;

	while ((rc = ctl_reset(r->ctl, name, r->options->to, err)) == -EBUSY &&
		clock_now_ms() < deadline_ms)
		nanosleep(&pause, NULL);
	return rc;
}

/* With --force: what is newer goes first, or the daemon refuses. */
static int forget_newer(struct resetting *r, struct err *err)
{
	const struct manifest *m = r->ours->manifest;
	int rc = 0;

	for (uint32_t i = m->n_snapshots; rc == 0 && i > 0; i--)
		if (would_lose(m, &m->snapshots[i - 1], r->options->to))
			rc = ctl_forget(r->ctl, m->name, m->snapshots[i - 1].name, err);
	return rc;
}

static int settle_nvram(const struct ours *ours, enum instant_nvram what, const char *temp,
	struct err *err)
{
	const char *path = ours->record->nvram;

	switch (what) {
	case INSTANT_NVRAM_PUT:
		return nvram_replace(temp, path, err);
	case INSTANT_NVRAM_DROP:
		return nvram_remove(path, err);
	case INSTANT_NVRAM_LEAVE:
		break;
	}
	return 0;
}

/* The copy that waits to be put back, whole or not; NULL: there is none. */
static const char *temp_of(const struct journal *journal)
{
	const struct journal_entry *last = journal_entry(journal, journal_count(journal) - 1);

	return last->kind == JOURNAL_FILE ? last->name : NULL;
}

static int remove_temp(const char *temp, struct err *err)
{
	if (temp && unlink(temp) < 0 && errno != ENOENT)
		return err_sys(err, -errno, "cannot remove %s", temp);
	return 0;
}

/* It did not happen: nothing of it stays, or the next command tries again. */
static void undo(struct resetting *r)
{
	struct journal *journal = steal_ptr(&r->journal);

	if (journal_count(journal) > 0 && remove_temp(temp_of(journal), NULL) < 0)
		journal_close(journal);
	else
		journal_end(journal, NULL);
}

/* 1: the deltas are new. 0: they are the old ones. Else it cannot be told. */
static int happened(struct resetting *r)
{
	int rc = ours_reread(r->ours, NULL);

	return rc < 0 ? rc : instant_mark(r->ours->manifest) != r->mark;
}

static int finish(struct resetting *r, struct err *err)
{
	int rc = settle_nvram(r->ours, r->what, r->temp, err);

	if (rc == 0)
		rc = journal_add(r->journal, JOURNAL_DONE, NULL, NULL, 0, 0, err);
	if (rc < 0) {
		err_hint(err, "the disks were reset; the next lazyclone command tries the rest again");
		return rc;
	}
	rc = journal_end(steal_ptr(&r->journal), err);
	return rc == 0 ? instant_sweep(r->ours, err) : rc;
}

static int run_steps(struct resetting *r, struct err *err)
{
	int rc = note(r, err);

	if (rc == 0)
		rc = prepare_nvram(r, err);
	if (rc == 0)
		rc = interrupt_check(err);
	if (rc < 0) {
		if (r->journal)
			undo(r);
		return rc;
	}
	rc = forget_newer(r, err);
	if (rc == 0)
		rc = reset_disks(r, err);
	/* A daemon that does not answer in time may do it still. */
	if (rc < 0 && rc != -ETIMEDOUT && happened(r) == 0)
		undo(r);
	if (rc < 0)
		return rc;
	rc = ours_reread(r->ours, err);
	return rc == 0 ? finish(r, err) : rc;
}

static int reset(struct resetting *r, struct reset_result *result, struct err *err)
{
	uint64_t begun_ns;
	int rc = check(r, err);

	if (rc == 0)
		rc = session_need_daemon(r->session, true, &r->ctl, err);
	if (rc == 0)
		rc = ours_show(r->ours, r->ctl, err);
	if (rc == 0)
		rc = ours_power_off(r->ours, r->options->force, err);
	if (rc < 0)
		return rc;
	begun_ns = clock_now_ns();
	rc = run_steps(r, err);
	result->reset_ns = clock_now_ns() - begun_ns;
	result->reset = rc == 0;
	return rc;
}

static int start(struct resetting *r, struct reset_result *result, struct err *err)
{
	struct err why = {0};
	int rc = virt_start(r->ours->virt, r->ours->record->uuid, &why);

	result->started = rc == 0;
	if (rc == 0)
		return 0;
	return err_set(err, -EREMOTEIO, "%s is reset, but not started: %s",
		r->ours->manifest->name, why.message);
}

int reset_clone(struct session *session, const char *clone, const struct reset_options *options,
	struct reset_result *ret_result, struct err *err)
{
	struct ours ours;
	struct resetting r = {.session = session, .options = options, .ours = &ours};
	int rc = ours_take(session, clone, &ours, err);

	*ret_result = (struct reset_result){0};
	if (rc < 0)
		return rc;
	interrupt_catch();
	rc = reset(&r, ret_result, err);
	if (rc == 0 && options->start)
		rc = start(&r, ret_result, err);
	interrupt_restore();
	journal_close(r.journal);
	free(r.temp);
	ours_clear(&ours);
	return rc;
}

/* ---- what a killed run left ---- */

static int settle_ours(struct session *session, const struct ours *ours,
	const struct journal_entry *entry, const char *temp, struct err *err)
{
	const char *name = ours->manifest->name;
	enum instant_nvram what = (enum instant_nvram)entry->ino;
	int rc;

	if (instant_mark(ours->manifest) == entry->dev) {
		session_notice(session, "the reset of %s that was killed had not begun: it is as it "
			"was", name);
		return remove_temp(temp, err);
	}
	if (ours->domain.active && what != INSTANT_NVRAM_LEAVE) {
		session_notice(session, "the reset of %s was killed before its NVRAM was put back; it "
			"runs by now and keeps the one it has", name);
		return remove_temp(temp, err);
	}
	/* The domain was given another NVRAM file, or none: that one is not ours. */
	if (!ours_has_nvram(ours))
		what = INSTANT_NVRAM_LEAVE;
	rc = what == INSTANT_NVRAM_PUT && !temp ? 0 : settle_nvram(ours, what, temp, err);
	if (rc == 0)
		rc = remove_temp(temp, err);
	if (rc == 0)
		session_notice(session, "finished the reset of %s that a killed run left", name);
	return rc;
}

int reset_settle(struct session *session, const struct journal *journal, uint32_t from,
	struct err *err)
{
	const struct journal_entry *entry = journal_entry(journal, from);
	const char *temp = temp_of(journal);
	struct ours ours;
	struct id id;
	int rc;

	if (id_parse(entry->more, &id) < 0)
		return err_set(err, -EUCLEAN, "%s is no id of a clone", entry->more);
	rc = ours_hold(session, entry->name, &ours, err);
	/* Gone, or foreign by now: nothing is ours there but the copy. */
	if (rc == -ENOENT || rc == -EPERM)
		return remove_temp(temp, err);
	if (rc < 0)
		return rc;
	if (id_equal(&ours.manifest->id, &id))
		rc = settle_ours(session, &ours, entry, temp, err);
	else
		rc = remove_temp(temp, err);
	ours_clear(&ours);
	return rc;
}
