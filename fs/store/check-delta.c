/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking one delta: supers, log, checkpoint, payloads. See check.h. */
#include "fs/store/check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/handle.h"
#include "fs/store/look.h"
#include "fs/store/order.h"
#include "fs/store/rebuild.h"
#include "fs/store/slot.h"
#include "fs/store/survey.h"
#include "fs/store/verify.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

#define NAME_TEXT (ID_TEXT + 8)
#define DETAIL_TEXT (ERR_MESSAGE_MAX + 128)
#define VERIFY_SLICE 65536u /* data blocks between two looks at who wants to stop */

/* One check_delta() under way. */
struct checking {
	struct check *check;
	const struct io_gate *io;
	const struct check_target *target;
	char name[ID_TEXT];
	int super_fd; /* locked, to repair by; -1 */
	struct scan *scan;
	struct delta *view; /* what a new log is to be made of */
	bool tried;         /* to make one: somebody said yes */
};

int check_report(struct check *check, enum problem_code code, const char *where,
	const char *detail, int (*fix)(void *ctx, struct err *err), void *ctx)
{
	struct check_problem problem = {
		.kind = problem_kind(code), .where = where, .detail = detail};
	struct err err = {0};
	int rc;

	if (problem.kind->grade == GRADE_LEFTOVER)
		check->leftovers++;
	else if (problem.kind->grade == GRADE_DAMAGE)
		check->damages++;
	else
		check->unknowns++;
	if (!check->ask(check->ctx, &problem, check->repair && fix) || !check->repair || !fix)
		return 0;
	rc = fix(ctx, &err);
	if (rc < 0 && err.code == 0)
		err_sys(&err, rc, "cannot repair it");
	if (check->repaired)
		check->repaired(check->ctx, &problem, rc, &err);
	check->n_repaired += rc == 0;
	return rc == 0;
}

static int report(struct checking *c, enum problem_code code, const char *detail,
	int (*fix)(void *ctx, struct err *err))
{
	return check_report(c->check, code, c->target->where, detail, fix, c);
}

/* ---- repairs ---- */

/* The other copy gets what this one says, as the next generation. */
static int fix_super_copy(void *ctx, struct err *err)
{
	struct checking *c = ctx;
	struct super super;
	int rc = super_read(c->io, c->super_fd, &super, NULL, err);

	if (rc == 0)
		rc = super_write(c->io, c->super_fd, &super);
	return rc;
}

static int fix_size(void *ctx, struct err *err)
{
	struct checking *c = ctx;
	struct super super;
	int rc = super_read(c->io, c->super_fd, &super, NULL, err);

	if (rc < 0)
		return rc;
	super.size_bytes = c->target->size_bytes;
	return super_write(c->io, c->super_fd, &super);
}

static int fix_checkpoint(void *ctx, struct err *err)
{
	struct checking *c = ctx;

	return checkpoint_remove(c->io, c->target->dirfd, c->name);
}

static int rebuild_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct checking *c = ctx;

	return c->check->progress ?
		c->check->progress(c->check->ctx, c->target->where, done, total) : 0;
}

/* Does the new log open, and say what it was made to say? */
static int look_back(struct checking *c, const char *name, const struct rebuild *rebuild,
	struct err *err)
{
	struct delta_verified found;
	struct delta *view;
	int rc = delta_look(c->io, c->target->dirfd, name, false, &view, err);

	if (rc < 0)
		return rc;
	rc = delta_verify(view, 0, UINT64_MAX, &found);
	delta_abandon(view);
	if (rc == 0 && (found.data_blocks != rebuild->data_blocks ||
			       found.bad_blocks != rebuild->bad_blocks))
		rc = err_set(err, -EIO, "the repaired log does not read back");
	return rc;
}

static int fix_by_new_log(void *ctx, struct err *err)
{
	struct checking *c = ctx;
	struct id id = id_new();
	char name[ID_TEXT];
	struct rebuild rebuild = {
		.io = c->io,
		.dirfd = c->target->dirfd,
		.name = name,
		.layer = c->target->layer,
		.progress = rebuild_progress,
		.ctx = c,
	};
	int rc;

	c->tried = true;
	id_format(&id, name);
	rc = rebuild_delta(&rebuild, c->view, err);
	if (rc < 0)
		return rc;
	rc = look_back(c, name, &rebuild, err);
	if (rc == 0)
		rc = c->io->fsync(c->io, c->target->dirfd);
	if (rc == 0)
		rc = c->target->adopt(c->target->ctx, &id, err);
	else
		delta_remove(c->io, c->target->dirfd, name, NULL);
	return rc;
}

/* ---- what can be known of the disk ---- */

/* A question whose answer is a new log made of view, which this frees. */
static int ask_new_log(struct checking *c, enum problem_code code, const char *detail,
	struct delta *view)
{
	int fixed;

	c->view = view;
	fixed = report(c, code, detail, c->target->adopt ? fix_by_new_log : NULL);
	c->view = NULL;
	delta_abandon(view);
	return fixed;
}

static int all_lost(struct checking *c, enum problem_code code, const char *detail,
	uint64_t size_bytes)
{
	struct delta *view;
	int rc = size_bytes ? survey_nothing(c->io, size_bytes, &view) : -ENODATA;

	if (rc == -ENODATA)
		report(c, code, detail, NULL);
	else if (rc == 0)
		ask_new_log(c, code, detail, view);
	return rc == -ENODATA ? 0 : rc;
}

/* Read all data blocks of a view; *ret_bad: how many of them do not verify,
 * without those that are marked. */
static int verify_view(struct checking *c, struct delta *view, uint64_t *ret_bad,
	uint64_t *ret_first)
{
	struct delta_verified v = {0};
	int rc = 0;

	*ret_bad = 0;
	do {
		rc = delta_verify(view, v.next_block, VERIFY_SLICE, &v);
		if (rc < 0)
			return rc;
		c->check->data_blocks += v.data_blocks;
		c->check->marked_bad += v.marked_blocks;
		if (*ret_bad == 0)
			*ret_first = v.first_bad;
		*ret_bad += v.bad_blocks - v.marked_blocks;
		if (rebuild_progress(c, v.next_block, v.end_block) != 0)
			return -ECANCELED;
	} while (v.next_block < v.end_block);
	return 0;
}

/* The state of the disk is known, but the log does not replay as a whole. Frees view. */
static int ask_known(struct checking *c, struct delta *view, const struct err *why)
{
	char detail[DETAIL_TEXT];
	uint64_t bad, first;
	int rc = verify_view(c, view, &bad, &first);

	if (rc < 0) {
		delta_abandon(view);
		return rc;
	}
	if (bad > 0)
		snprintf(detail, sizeof(detail), "%" PRIu64 ", the first is %" PRIu64, bad, first);
	else
		snprintf(detail, sizeof(detail), "%s", why->message);
	ask_new_log(c, bad > 0 ? PROBLEM_PAYLOAD : PROBLEM_HISTORY, detail, view);
	return 0;
}

static void say_loss(const struct survey *s, char detail[static DETAIL_TEXT])
{
	char place[64] = "a segment is missing";

	if (s->first.off > 0)
		snprintf(place, sizeof(place), "in slot %" PRIu32 " at offset %" PRIu64,
			s->first.slot, s->first.off);
	snprintf(detail, DETAIL_TEXT,
		"%s, behind record %" PRIu64 " of %" PRIu64 "; %" PRIu64
		" records behind it can be read",
		place, s->first.lsn, s->end_lsn, s->records_behind);
}

static int ask_lost(struct checking *c, struct survey *s)
{
	char detail[DETAIL_TEXT];
	struct delta *view;
	int rc;

	say_loss(s, detail);
	if (s->may_cut) {
		uint64_t damages = c->check->damages;

		rc = survey_cut(s, &view);
		if (rc < 0)
			return rc;
		ask_new_log(c, PROBLEM_LOG_CUT, detail, view);
		if (c->tried) /* one that failed can be tried again: no reason to lose more */
			return 0;
		c->check->damages = damages; /* the other way out of the same problem */
	}
	rc = survey_known(s, &view);
	if (rc == 0)
		ask_new_log(c, PROBLEM_LOG_LOST, detail, view);
	return rc;
}

static int ask_damaged(struct checking *c, const struct err *why, struct err *err)
{
	struct survey *s;
	struct delta *view;
	int rc = survey_open(c->scan, c->target->dirfd, c->name, true, &s, err);

	if (rc < 0)
		return rc;
	if (s->n_losses > 0) {
		rc = ask_lost(c, s);
	} else {
		rc = survey_known(s, &view);
		if (rc == 0)
			rc = ask_known(c, view, why);
	}
	survey_close(s);
	return rc < 0 ? err_sys(err, rc, "%s", c->target->where) : 0;
}

/* ---- the log ---- */

/* First block whose place differs; UINT64_MAX: none does. */
static uint64_t first_difference(struct delta *a, struct delta *b)
{
	uint64_t blocks = delta_blocks(a);

	for (uint64_t block = 0; block < blocks;) {
		struct index_place pa[DELTA_BLOCKS_MAX], pb[DELTA_BLOCKS_MAX];
		uint64_t run_a, run_b;
		enum delta_owner owner = delta_map(a, block, blocks - block, &run_a);

		if (delta_map(b, block, blocks - block, &run_b) != owner || run_a != run_b)
			return block;
		if (owner == DELTA_DATA) {
			run_a = min_u64(run_a, DELTA_BLOCKS_MAX);
			index_get(&a->log.index, block, run_a, &run_a, pa);
			index_get(&b->log.index, block, run_a, &run_a, pb);
			for (uint64_t i = 0; i < run_a; i++)
				if (pa[i].pos != pb[i].pos || pa[i].len != pb[i].len)
					return block + i;
		}
		block += run_a;
	}
	return UINT64_MAX;
}

static void check_checkpoint_file(struct checking *c)
{
	struct checkpoint checkpoint = {0};
	struct index index;
	int rc;

	if (index_init(&index) < 0)
		return;
	rc = checkpoint_read(
		c->io, c->target->dirfd, c->name, c->scan->super, &checkpoint, &index);
	checkpoint_release(&checkpoint);
	index_release(&index);
	if (rc == -EUCLEAN)
		report(c, PROBLEM_CHECKPOINT, "", fix_checkpoint);
}

/* Bytes of each slot that blocks live in, counted by the blocks. *ret_live is the caller's. */
static int count_live(struct delta *view, uint64_t **ret_live)
{
	uint64_t blocks = delta_blocks(view), run;
	uint64_t *live = calloc(view->log.segments.count + 1ULL, sizeof(*live));

	if (!live)
		return -ENOMEM;
	for (uint64_t block = 0; block < blocks; block += run) {
		struct index_place place[DELTA_BLOCKS_MAX];

		if (delta_map(view, block, blocks - block, &run) != DELTA_DATA)
			continue;
		run = min_u64(run, DELTA_BLOCKS_MAX);
		index_get(&view->log.index, block, run, &run, place);
		for (uint64_t i = 0; i < run; i++)
			live[slot_of(place[i].pos)] += FORMAT_BLOCK_SUM + place[i].len;
	}
	*ret_live = live;
	return 0;
}

/* 1: they are counted wrong, and that was said. */
static int check_account(struct checking *c, struct delta *view)
{
	AUTO_FREE uint64_t *live = NULL;
	int rc = count_live(view, &live);

	for (uint32_t slot = 0; rc == 0 && slot < view->log.segments.count; slot++) {
		uint64_t counted = index_slot_live(&view->log.index, slot);
		char detail[128];

		if (live[slot] == counted)
			continue;
		snprintf(detail, sizeof(detail),
			"slot %" PRIu32 ": %" PRIu64 ", not %" PRIu64, slot, live[slot], counted);
		report(c, PROBLEM_ACCOUNT, detail, NULL);
		return 1;
	}
	return rc;
}

static int check_order(struct checking *c, struct err *err)
{
	struct survey *survey;
	struct order order;
	char detail[DETAIL_TEXT];
	int rc = survey_open(c->scan, c->target->dirfd, c->name, false, &survey, err);

	if (rc < 0)
		return rc;
	rc = order_check(survey, &order);
	survey_close(survey);
	if (rc < 0)
		return err_sys(err, rc, "%s", c->target->where);
	if (order.count == 0)
		return 0;
	snprintf(detail, sizeof(detail),
		"%" PRIu64 " times, the first is block %" PRIu64 ": LSN %" PRIu64
		" lies behind %" PRIu64, order.count, order.block, order.lsn, order.newer_lsn);
	report(c, PROBLEM_ORDER, detail, NULL);
	return 0;
}

/* Two ways to read the log, with its checkpoint and without, and what must be true of both. */
static int compare_views(struct checking *c, struct delta *whole, struct delta *quick)
{
	uint64_t differs = first_difference(whole, quick);
	int rc = check_account(c, whole);

	if (rc == 0 && differs == UINT64_MAX)
		rc = check_account(c, quick);
	if (rc == 0 && differs != UINT64_MAX) {
		char detail[64];

		snprintf(detail, sizeof(detail), "block %" PRIu64, differs);
		report(c, PROBLEM_CHECKPOINT_WRONG, detail, fix_checkpoint);
	}
	return rc < 0 ? rc : 0;
}

/* The log opens; quick is what it says with its checkpoint. Now without. Frees quick. */
static int check_all(struct checking *c, struct delta *quick, struct err *err)
{
	struct delta *whole = NULL;
	struct err why = {0};
	uint64_t bad, first;
	int rc = delta_look(c->io, c->target->dirfd, c->name, false, &whole, &why);

	if (rc == -EUCLEAN)
		return ask_known(c, quick, &why);
	if (rc == 0)
		rc = verify_view(c, whole, &bad, &first);
	if (rc < 0) {
		delta_abandon(quick);
		if (whole)
			delta_abandon(whole);
		return why.code ? err_set(err, rc, "%s", why.message) : rc;
	}
	if (bad > 0) { /* a payload that verifies and does not unpack */
		delta_abandon(quick);
		return ask_known(c, whole, &why);
	}
	rc = compare_views(c, whole, quick);
	delta_abandon(whole);
	delta_abandon(quick);
	return rc < 0 ? rc : check_order(c, err);
}

static int check_log(struct checking *c, struct err *err)
{
	struct delta *quick;
	struct err why = {0};
	int rc = delta_look(c->io, c->target->dirfd, c->name, true, &quick, &why);

	if (rc == -EUCLEAN)
		return ask_damaged(c, &why, err);
	if (rc < 0) {
		report(c, PROBLEM_READ, why.message, NULL);
		return 0;
	}
	check_checkpoint_file(c);
	if (c->check->full)
		return check_all(c, quick, err);
	delta_abandon(quick);
	return 0;
}

/* ---- the super block ---- */

/* Take the lock that the daemon takes; to repair it is needed. */
static int take_lock(struct checking *c, struct err *err)
{
	char file[NAME_TEXT];
	int rc;

	snprintf(file, sizeof(file), "%s.super", c->name);
	c->super_fd = c->io->openat(c->io, c->target->dirfd, file,
		(c->check->repair ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK, 0);
	if (c->super_fd == -ENOENT)
		return 0;
	if (c->super_fd < 0)
		return err_sys(err, c->super_fd, "cannot open %s", file);
	rc = c->check->repair ? io_lock(c->super_fd, true, 0, 1) : 0;
	return rc == -EAGAIN ? -EBUSY : rc;
}

static void check_copies(struct checking *c)
{
	for (uint32_t i = 0; i < SCAN_COPIES; i++) {
		char detail[DETAIL_TEXT];

		if (c->scan->copy[i].rc == 0)
			continue;
		snprintf(detail, sizeof(detail), "copy %" PRIu32 ": %s", i + 1,
			c->scan->copy[i].err.message);
		report(c, PROBLEM_SUPER_COPY, detail, fix_super_copy);
	}
}

static bool is_newer(const struct scan *scan)
{
	for (uint32_t i = 0; i < SCAN_COPIES; i++)
		if (scan->copy[i].rc == -EOPNOTSUPP)
			return true;
	return false;
}

static int look_at_files(struct checking *c, struct err *err);

static int check_files(struct checking *c, struct err *err)
{
	const struct check_target *target = c->target;
	const struct scan *scan = c->scan;

	if (is_newer(scan)) {
		report(c, PROBLEM_READ, "its format is not known to this version", NULL);
		return 0;
	}
	if (!scan->super)
		return all_lost(c, PROBLEM_SUPER, scan->copy[0].err.message, target->size_bytes);
	if (scan->log_fd < 0)
		return all_lost(c, PROBLEM_LOG_MISSING, "",
			max_u64(target->size_bytes, scan->super->size_bytes));
	check_copies(c);
	if (scan->super->size_bytes >= target->size_bytes)
		return check_log(c, err);
	return report(c, PROBLEM_SIZE, "", fix_size) ? look_at_files(c, err) : 0;
}

static int look_at_files(struct checking *c, struct err *err)
{
	struct err why = {0};
	int rc;

	scan_close(c->scan);
	c->scan = NULL;
	rc = scan_open(c->io, c->target->dirfd, c->name, &c->scan, &why);
	if (rc == -ENOENT)
		return all_lost(c, PROBLEM_SUPER, "its files are missing", c->target->size_bytes);
	if (rc < 0) {
		report(c, PROBLEM_READ, why.message, NULL);
		return 0;
	}
	if (c->check->full && c->scan->log_fd >= 0) /* what is read is to come from the medium */
		posix_fadvise(c->scan->log_fd, 0, 0, POSIX_FADV_DONTNEED);
	return check_files(c, err);
}

int check_delta(struct check *check, const struct io_gate *io, const struct check_target *target,
	struct err *err)
{
	struct checking c = {.check = check, .io = io, .target = target, .super_fd = -1};
	struct err why = {0};
	int rc;

	id_format(target->id, c.name);
	rc = take_lock(&c, &why);
	if (rc == -EBUSY)
		report(&c, PROBLEM_BUSY, "", NULL);
	else if (rc < 0)
		report(&c, PROBLEM_READ, why.message, NULL);
	rc = rc < 0 ? 0 : look_at_files(&c, err);
	scan_close(c.scan);
	if (c.super_fd >= 0)
		io->close(io, c.super_fd);
	return rc;
}
