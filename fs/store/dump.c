/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A delta's files as text: see dump.h. */
#include "fs/store/dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "fs/store/checkpoint.h"
#include "fs/store/scan.h"
#include "fs/util/cleanup.h"

struct dump {
	struct scan *scan;
	uint32_t *life; /* by slot: which life wrote its segment, from 1 */
	FILE *out;
};

static void print_super(const struct dump *d, uint32_t i)
{
	const struct scan_copy *copy = &d->scan->copy[i];
	const struct super *s = &copy->super;

	if (copy->rc < 0) {
		fprintf(d->out, "super %" PRIu32 " damaged: %s\n", i, copy->err.message);
		return;
	}
	fprintf(d->out, "super %" PRIu32 " ok generation %" PRIu64 " size %" PRIu64, i,
		s->generation, s->size_bytes);
	fprintf(d->out, " life %" PRIu64 " slot %" PRIu32, s->life_seq, s->life_slot);
	if (s->clean)
		fprintf(d->out, " clean %" PRIu64 "+%" PRIu64, s->end_seq, s->end_off);
	else
		fputs(" unclean", d->out);
	fprintf(d->out, " durable %" PRIu64 "%s\n", s->durable_lsn, s->layer ? " layer" : "");
}

static const char *type_name(enum format_type type)
{
	switch (type) {
	case FORMAT_DATA:
		return "data";
	case FORMAT_ZERO:
		return "zero";
	case FORMAT_MOVED:
		return "moved";
	case FORMAT_BAD:
		return "bad";
	case FORMAT_END:
		return "end";
	}
	return "unknown";
}

static void print_entry(const struct dump *d, const struct record *r, uint32_t i)
{
	struct record_entry e = record_entry(r, i);

	if (r->type == FORMAT_MOVED) {
		fprintf(d->out, "%" PRIu64, e.block);
		if (e.count != 1)
			fprintf(d->out, "+%" PRIu64, e.count);
		fprintf(d->out, "@%" PRIu64 ":", e.lsn);
	}
	fprintf(d->out, "%u", (unsigned int)e.len);
}

static void print_verdict(const struct dump *d, const struct scan_record *found)
{
	const char *before = " bad ";

	if (found->n_bad == 0)
		fputs(" ok", d->out);
	for (uint32_t i = 0; i < found->record->n; i++) {
		if (!found->bad[i])
			continue;
		fprintf(d->out, "%s%" PRIu32, before, i);
		before = ",";
	}
	putc('\n', d->out);
}

static int print_record(void *ctx, const struct scan_record *found)
{
	const struct dump *d = ctx;
	const struct record *r = found->record;

	fprintf(d->out, "slot %" PRIu32 " segment %" PRIu64 " at %" PRIu64 " %s lsn %" PRIu64,
		found->slot, found->seq, found->off, type_name(r->type), r->lsn);
	if (r->count > 0)
		fprintf(d->out, " block %" PRIu64 " count %" PRIu64, r->block, r->count);
	fprintf(d->out, " length %" PRIu32, r->length);
	for (uint32_t i = 0; i < r->n; i++) {
		fputs(i == 0 ? " payload " : ",", d->out);
		print_entry(d, r, i);
	}
	print_verdict(d, found);
	return 0;
}

static int print_segment(struct dump *d, uint32_t slot)
{
	const struct segment *s = &d->scan->slots[slot].header;
	struct scan_end end = scan_begin(d->scan, slot);
	int rc;

	fprintf(d->out, "slot %" PRIu32 " segment %" PRIu64 " header first %" PRIu64, slot, s->seq,
		s->first_lsn);
	fprintf(d->out, " prev %" PRIu64 "+%" PRIu64 " durable %" PRIu64 " life %" PRIu32 " ok\n",
		s->prev_seq, s->prev_end, s->durable_lsn, d->life[slot]);
	rc = scan_records(d->scan, slot, UINT64_MAX, 0, print_record, d, &end);
	if (rc == 0)
		fprintf(d->out, "slot %" PRIu32 " segment %" PRIu64 " ends at %" PRIu64 "%s\n",
			slot, s->seq, end.off, end.sealed ? " sealed" : "");
	return rc;
}

static int print_slot(struct dump *d, uint32_t slot)
{
	const struct scan_slot *s = &d->scan->slots[slot];

	switch (s->kind) {
	case SCAN_SEGMENT:
		return print_segment(d, slot);
	case SCAN_FREE:
		fprintf(d->out, "slot %" PRIu32 " free %" PRIu64 " durable %" PRIu64 " ok\n", slot,
			s->header.seq, s->header.durable_lsn);
		return 0;
	case SCAN_NEVER:
		fprintf(d->out, "slot %" PRIu32 " never used\n", slot);
		return 0;
	case SCAN_DAMAGED:
		fprintf(d->out, "slot %" PRIu32 " damaged\n", slot);
		return 0;
	}
	return 0;
}

/* ---- lives: epochs in the order of their segments ---- */

static int by_seq(const void *a, const void *b)
{
	const struct segment *const *x = a, *const *y = b;

	return (*x)->seq < (*y)->seq ? -1 : (*x)->seq > (*y)->seq;
}

static int count_lives(struct dump *d)
{
	const struct scan *scan = d->scan;
	AUTO_FREE const struct segment **sorted = calloc(scan->n_slots + 1, sizeof(*sorted));
	uint32_t n = 0, life = 0;

	d->life = calloc(scan->n_slots + 1, sizeof(*d->life));
	if (!sorted || !d->life)
		return -ENOMEM;
	for (uint32_t slot = 0; slot < scan->n_slots; slot++)
		if (scan->slots[slot].kind == SCAN_SEGMENT)
			sorted[n++] = &scan->slots[slot].header;
	qsort(sorted, n, sizeof(*sorted), by_seq);
	for (uint32_t i = 0; i < n; i++) {
		life += i == 0 || sorted[i]->epoch != sorted[i - 1]->epoch;
		d->life[sorted[i]->slot] = life;
	}
	return 0;
}

static void print_checkpoint(const struct dump *d, int dirfd, const char *name)
{
	struct checkpoint checkpoint = {0};
	struct index index;
	struct delta_stats stats;
	int rc;

	if (!d->scan->super || index_init(&index) < 0)
		return;
	rc = checkpoint_read(d->scan->io, dirfd, name, d->scan->super, &checkpoint, &index);
	if (rc == 0) {
		index_stats(&index, &stats);
		fprintf(d->out, "checkpoint ok lsn %" PRIu64 " segment %" PRIu64 "+%" PRIu64,
			checkpoint.place.lsn, checkpoint.place.seq, checkpoint.place.off);
		fprintf(d->out, " slots %" PRIu32 " data blocks %" PRIu64 "\n", checkpoint.n_slots,
			stats.data_blocks);
	} else if (rc != -ENOENT) {
		fputs("checkpoint damaged\n", d->out);
	}
	checkpoint_release(&checkpoint);
	index_release(&index);
}

int dump_delta(const struct io_gate *io, int dirfd, const char *name, FILE *out, struct err *err)
{
	struct dump d = {.out = out};
	int rc = scan_open(io, dirfd, name, &d.scan, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < SCAN_COPIES; i++)
		print_super(&d, i);
	rc = count_lives(&d);
	for (uint32_t slot = 0; rc == 0 && slot < d.scan->n_slots; slot++)
		rc = print_slot(&d, slot);
	if (rc < 0)
		err_sys(err, rc, "delta %s: cannot read the log", name);
	else
		print_checkpoint(&d, dirfd, name);
	free(d.life);
	scan_close(d.scan);
	return rc;
}
