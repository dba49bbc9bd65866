/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Emptying one segment: see evacuate.h.
 *
 * What may be lost: nothing. What is appended here is there twice until the
 * segment is retired, and that waits until it is durable (recycle.h); a record
 * that is cut off is one copy less. A payload that does not verify, and all of
 * a segment whose records cannot be read to the end that was accepted, stay
 * where they are for ever. (tests/unit/fs/store/test-clean-damage.c kills at every
 * call, and flips bits.)
 */
#include "fs/store/evacuate.h"

#include <errno.h>
#include <string.h>

#include "fs/util/clock.h"
#include "fs/util/round.h"

bool evacuation_spent(const struct evacuation *e)
{
	return e->moved_bytes >= e->moved_max || e->read_bytes >= e->read_max ||
		clock_now_ns() >= e->deadline_ns;
}

/* Bytes that take a move along, in a record of many. */
static uint64_t move_bytes(const struct move *move)
{
	return sizeof(struct format_moved) + record_block_bytes(move->len);
}

static bool is_covered(const struct zero_run *runs, uint64_t block, uint64_t end)
{
	for (uint32_t i = 0; i < EVACUATE_RUNS; i++)
		if (runs[i].block <= block && end <= runs[i].end)
			return true;
	return false;
}

static void cover(struct zero_run *runs, uint64_t block, uint64_t end)
{
	memmove(runs + 1, runs, (EVACUATE_RUNS - 1) * sizeof(*runs));
	runs[0] = (struct zero_run){block, end};
}

/* After an append: what of a run of zeros is still to be looked at. */
static void keep_rest(struct evacuation *e, const struct move *move, uint64_t wanted_end,
	struct zero_run *runs)
{
	uint64_t end = move->block + move->count;

	if (move->count == 0)
		return;
	cover(runs, move->block, end);
	if (end >= wanted_end)
		return;
	e->wanted_end[e->n] = wanted_end;
	e->moves[e->n++] = (struct move){.block = end, .count = wanted_end - end};
}

static int append_once(struct evacuation *e, struct victim *victim, struct zero_run *runs)
{
	struct log_request request = {
		.type = FORMAT_MOVED,
		.count = e->n,
		.moves = e->moves,
		.head = e->head,
		.body = e->body,
	};
	uint32_t n = e->n;
	int rc = log_append(e->log, &request);

	if (rc < 0)
		return rc;
	e->n = 0;
	e->body_bytes = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct move move = e->moves[i];

		if (move.count > 0) {
			e->moved_bytes += move_bytes(&move);
			victim->moved_bytes += move_bytes(&move);
		}
		if (move.len == 0)
			keep_rest(e, &move, e->wanted_end[i], runs);
	}
	return 0;
}

/* Append what was collected. A run of zeros into which somebody wrote meanwhile
 * takes another round. */
static int append_moves(struct evacuation *e, struct victim *victim, struct zero_run *runs)
{
	int rc = 0;

	while (rc == 0 && e->n > 0)
		rc = append_once(e, victim, runs);
	return rc;
}

static struct move *next_move(struct evacuation *e)
{
	return &e->moves[e->n++];
}

/* Block i of a record, whose sum lies at body, pos in the file. */
static void carry_block(struct evacuation *e, struct victim *victim,
	const struct record_place *place, const struct record_entry *entry, uint64_t pos,
	const uint8_t *body)
{
	struct index_place now;
	uint64_t run, hash;

	if (index_get(&e->log->index, entry->block, 1, &run, &now) != DELTA_DATA || now.pos != pos)
		return;
	if (record_verify_block(place, pos, entry->block, body, entry->len, &hash) < 0) {
		victim->damaged = true;
		victim->damaged_blocks++;
		return;
	}
	*next_move(e) = (struct move){
		.block = entry->block,
		.count = 1,
		.lsn = entry->lsn,
		.pos = pos,
		.hash = hash,
		.len = entry->len,
	};
	memcpy(e->body + e->body_bytes, body, record_block_bytes(entry->len));
	e->body_bytes += record_block_bytes(entry->len);
}

/* What is zero yet of a run, each part as far as it reaches by now: runs that
 * were made piece by piece become one. 1: the step ends within it. */
static int carry_zeros(struct evacuation *e, struct victim *victim,
	const struct record_entry *entry, struct zero_run *runs)
{
	uint64_t end = entry->block + entry->count, at = entry->block + victim->done;
	int rc = 0;

	while (rc == 0 && at < end) {
		uint64_t block = at, count = end - at;

		moves_cut_run(&e->log->index, DELTA_ZERO, &block, &count);
		if (count == 0)
			break;
		index_get(&e->log->index, block, e->disk_blocks - block, &count, NULL);
		at = block + count;
		if (!is_covered(runs, block, min_u64(at, end))) {
			e->wanted_end[e->n] = min_u64(at, end);
			*next_move(e) = (struct move){.block = block, .count = count};
		}
		if (e->n == FORMAT_RECORD_BLOCKS) {
			rc = append_moves(e, victim, runs);
			victim->done = at - entry->block;
			if (rc == 0 && at < end && evacuation_spent(e))
				return 1;
		}
	}
	victim->done = 0;
	return rc;
}

/* What is bad yet is said again. */
static int carry_bad(struct evacuation *e, const struct record *r)
{
	uint64_t end = r->block + r->count, at = r->block;
	int rc = 0;

	while (rc == 0 && at < end) {
		struct log_request request = {
			.type = FORMAT_BAD,
			.block = at,
			.count = end - at,
			.keep = true,
		};

		rc = log_append(e->log, &request);
		if (request.count == 0)
			break;
		at = request.block + request.count;
		e->moved_bytes += RECORD_BARE_BYTES;
	}
	return rc;
}

/* One entry of a table, at *at in the record. */
static int carry_entry(struct evacuation *e, struct victim *victim,
	const struct record_place *place, const struct record *r, const uint8_t *bytes,
	uint32_t *at, struct zero_run *runs)
{
	struct record_entry entry = record_entry(r, victim->entry);
	int rc = 0;

	if (e->n == FORMAT_RECORD_BLOCKS)
		rc = append_moves(e, victim, runs);
	if (rc < 0)
		return rc;
	if (entry.len == 0)
		return carry_zeros(e, victim, &entry, runs);
	carry_block(e, victim, place, &entry, place->pos + *at, bytes + *at);
	*at += record_block_bytes(entry.len);
	return 0;
}

/* All of one record, from where the last step ended on. */
static int carry_record(struct evacuation *e, struct victim *victim,
	const struct record_place *place, const struct record *r, const uint8_t *bytes,
	struct zero_run *runs)
{
	const struct record_entry all = {.block = r->block, .count = r->count};
	uint32_t at = r->body;
	int rc = 0;

	if (r->type == FORMAT_BAD)
		return carry_bad(e, r);
	if (r->type == FORMAT_ZERO) {
		rc = e->n == FORMAT_RECORD_BLOCKS ? append_moves(e, victim, runs) : 0;
		return rc < 0 ? rc : carry_zeros(e, victim, &all, runs);
	}
	for (uint32_t i = 0; i < victim->entry; i++)
		at += record_block_bytes(r->len[i]);
	while (rc == 0 && victim->entry < r->n) {
		rc = carry_entry(e, victim, place, r, bytes, &at, runs);
		if (rc == 0)
			victim->entry++;
	}
	return rc;
}

/* Have the slot's bytes from off on in memory, as many as fit. What the file
 * does not have is zeros, and no record. */
static int read_slice(struct evacuation *e, const struct victim *victim, uint64_t off)
{
	struct log *log = e->log;
	uint64_t len = min_u64(EVACUATE_SLICE_BYTES, slot_bytes(victim->slot) - off), done = 0;

	e->slice_len = 0;
	while (done < len) {
		ssize_t n = log->io->pread(log->io, log->log_fd, e->slice + done, len - done,
			slot_start(victim->slot) + off + done);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	memset(e->slice + done, 0, len - done);
	e->read_bytes += done;
	e->slice_slot = victim->slot;
	e->slice_off = off;
	e->slice_len = len;
	return 0;
}

/* Bytes in memory from off on. */
static uint64_t in_slice(const struct evacuation *e, const struct victim *victim, uint64_t off)
{
	if (e->slice_slot != victim->slot || off < e->slice_off ||
		off > e->slice_off + e->slice_len)
		return 0;
	return e->slice_off + e->slice_len - off;
}

/* All of the record at the victim's off, as far as it has a right length. */
static int have_record(struct evacuation *e, const struct victim *victim)
{
	uint64_t left = slot_bytes(victim->slot) - victim->off;
	uint64_t need = min_u64(left, RECORD_BARE_BYTES);
	struct format_record raw;
	int rc = 0;

	if (in_slice(e, victim, victim->off) < need)
		rc = read_slice(e, victim, victim->off);
	if (rc < 0 || need < sizeof(raw))
		return rc;
	memcpy(&raw, e->slice + (victim->off - e->slice_off), sizeof(raw));
	need = le32_get(raw.length);
	if (need <= RECORD_BYTES_MAX && in_slice(e, victim, victim->off) < min_u64(left, need))
		rc = read_slice(e, victim, victim->off);
	return rc;
}

/* 1: one more; 0: they end; -EUCLEAN: they end where they must not, or the
 * device does not give them. */
static int next_record(struct evacuation *e, struct victim *victim, struct record_place *place,
	struct record *ret_record)
{
	if (victim->end && victim->off >= victim->end)
		return victim->off == victim->end ? 0 : -EUCLEAN;
	if (have_record(e, victim) < 0)
		return -EUCLEAN;
	*place = (struct record_place){
		.key = e->log->key,
		.epoch = victim->epoch,
		.seq = victim->seq,
		.pos = slot_start(victim->slot) + victim->off,
		.prev_sum = victim->chain,
	};
	if (record_decode_head(place, e->slice + (victim->off - e->slice_off),
		    in_slice(e, victim, victim->off), e->disk_blocks, victim->lsn, ret_record) < 0)
		return -EUCLEAN;
	return ret_record->type != FORMAT_END;
}

static void step_over(struct victim *victim, const struct record *r)
{
	victim->off += r->length;
	victim->chain = r->sum;
	victim->lsn = r->lsn + 1;
	victim->entry = 0;
	victim->done = 0;
}

/* The segment that lies in a slot, by its header: what is in memory of it may
 * come from a checkpoint, which does not tell all. */
static int read_header(struct log *log, uint32_t slot, struct segment *ret_segment)
{
	struct super identity = {.key = {log->key[0], log->key[1]}};
	struct format_segment raw;
	int rc = id_parse(log->name, &identity.id);

	if (rc == 0)
		rc = io_read_full(log->io, log->log_fd, &raw, sizeof(raw), slot_start(slot));
	return rc < 0 ? rc : segment_decode(&raw, &identity, slot, ret_segment);
}

/* 0, or -EUCLEAN: nobody knows where its records begin or end. */
static int begin(struct evacuation *e, struct victim *victim)
{
	struct segment segment, next;

	if (read_header(e->log, victim->slot, &segment) < 0 || segment.free ||
		segment.seq != victim->seq)
		return -EUCLEAN;
	victim->epoch = segment.epoch;
	victim->off = FORMAT_PAGE;
	victim->chain = segment.prev_sum;
	victim->lsn = segment.first_lsn;
	victim->end = 0;
	if (!victim->sealed) {
		if (read_header(e->log, victim->next_slot, &next) < 0 || next.free ||
			next.prev_seq != victim->seq || next.prev_end < FORMAT_PAGE)
			return -EUCLEAN;
		victim->end = next.prev_end;
	}
	victim->begun = true;
	return 0;
}

int evacuate(struct evacuation *e, struct victim *victim, struct zero_run runs[EVACUATE_RUNS])
{
	e->n = 0;
	e->body_bytes = 0;
	e->disk_blocks = round_up(atomic_load(e->size_bytes), DELTA_BLOCK_BYTES) >>
		DELTA_BLOCK_SHIFT;
	e->slice_len = 0; /* the slot may hold another segment by now */
	if (!victim->begun && begin(e, victim) < 0) {
		victim->damaged = true;
		return 1;
	}
	for (;;) {
		struct record_place place;
		struct record record;
		int rc = next_record(e, victim, &place, &record);

		if (rc == -EUCLEAN)
			victim->damaged = true;
		if (rc == 0 || rc == -EUCLEAN) {
			rc = append_moves(e, victim, runs);
			return rc < 0 ? rc : 1;
		}
		if (rc > 0)
			rc = carry_record(e, victim, &place, &record,
				e->slice + (victim->off - e->slice_off), runs);
		if (rc == 0)
			step_over(victim, &record);
		if (rc < 0)
			return rc;
		if (rc > 0 || evacuation_spent(e))
			return append_moves(e, victim, runs);
	}
}
