/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Do the two orders of a log agree? See order.h. */
#include "fs/store/order.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_ROOM 1024u /* a power of two */

/* A block's newest LSN; lsn 0: the place is free. */
struct version {
	uint64_t block, lsn;
};

/* An open-addressing table: room is a power of two, two thirds of it used at most. */
struct following {
	struct order *order;
	struct version *version;
	uint64_t n, room;
};

static struct version *find(const struct following *f, uint64_t block)
{
	uint64_t i = block * UINT64_C(0x9e3779b97f4a7c15) >> 20 & (f->room - 1);

	while (f->version[i].lsn && f->version[i].block != block)
		i = (i + 1) & (f->room - 1);
	return &f->version[i];
}

static int grow(struct following *f)
{
	struct following bigger = {
		.order = f->order, .n = f->n, .room = f->room ? 2 * f->room : FIRST_ROOM};

	bigger.version = calloc(bigger.room, sizeof(*bigger.version));
	if (!bigger.version)
		return -ENOMEM;
	for (uint64_t i = 0; i < f->room; i++)
		if (f->version[i].lsn)
			*find(&bigger, f->version[i].block) = f->version[i];
	free(f->version);
	*f = bigger;
	return 0;
}

static void see(struct following *f, struct version *now, uint64_t lsn)
{
	struct order *order = f->order;

	if (lsn < now->lsn && order->count++ == 0) {
		order->block = now->block;
		order->lsn = lsn;
		order->newer_lsn = now->lsn;
	}
	now->lsn = lsn;
}

static int see_data(struct following *f, uint64_t block, uint64_t lsn)
{
	struct version *now;

	if (3 * (f->n + 1) > 2 * f->room && grow(f) < 0)
		return -ENOMEM;
	now = find(f, block);
	f->n += now->lsn == 0;
	now->block = block;
	see(f, now, lsn);
	return 0;
}

/* Of any length: those of its blocks that are followed. */
static void see_run(struct following *f, uint64_t block, uint64_t count, uint64_t lsn)
{
	if (count > f->room) {
		for (uint64_t i = 0; i < f->room; i++)
			if (f->version[i].lsn && f->version[i].block - block < count)
				see(f, &f->version[i], lsn);
		return;
	}
	for (uint64_t i = 0; i < count; i++) {
		struct version *now = find(f, block + i);

		if (now->lsn)
			see(f, now, lsn);
	}
}

static int see_record(void *ctx, const struct scan_record *found)
{
	const struct record *r = found->record;
	struct following *f = ctx;
	int rc = 0;

	if (r->n == 0 && r->count > 0)
		see_run(f, r->block, r->count, r->lsn);
	for (uint32_t i = 0; rc == 0 && i < r->n; i++) {
		struct record_entry e = record_entry(r, i);

		if (e.len > 0)
			rc = see_data(f, e.block, e.lsn);
		else
			see_run(f, e.block, e.count, e.lsn);
	}
	return rc;
}

int order_check(struct survey *survey, struct order *ret_order)
{
	struct following f = {.order = ret_order};
	int rc;

	*ret_order = (struct order){0};
	rc = grow(&f);
	if (rc == 0)
		rc = survey_each(survey, see_record, &f);
	free(f.version);
	return rc;
}
