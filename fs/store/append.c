/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Appending to the log: the leader combines queued records into one write.
 *
 * What may be lost: nothing that was acknowledged, as no request returns
 * before its pwritev did. A pwritev that fails or falls short fails every
 * request that has a record in it; the end of the log stays where it was, the
 * next batch overwrites whatever the failed one left, and its LSNs are not
 * used again. An index update cannot fail (index_reserve), so a record in the
 * log is always found.
 */
#include "fs/store/log.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "fs/store/record.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

/* Zeros for padding: a record to 8 bytes, a batch to its page's end. */
static const uint8_t zeros[FORMAT_PAGE];

/* One record of a batch, remembered until the write has succeeded. */
struct piece {
	struct log_request *request;
	uint64_t pos;
	struct record record;
};

/* What the leader has put together so far. */
struct batch {
	uint32_t n, n_iov;
	uint64_t bytes;
	uint64_t chain; /* after the last piece */
	uint32_t index_pages;
	struct piece piece[LOG_BATCH_RECORDS];
	struct iovec iov[3 * LOG_BATCH_RECORDS + 1];
};

static void batch_init(struct batch *batch, const struct log *log)
{
	batch->n = batch->n_iov = batch->index_pages = 0;
	batch->bytes = 0;
	batch->chain = log->chain;
}

/* What is left of the tail segment for records of this life, less its END. */
static uint64_t room_left(const struct log *log, const struct batch *batch)
{
	if (!log_lives(log) || log->tail_sealed || log->tail_closed)
		return 0;
	return slot_bytes(log->tail.slot) - RECORD_BARE_BYTES - log->end - batch->bytes;
}

static bool has_table(const struct log_request *request)
{
	return request->type == FORMAT_DATA || request->type == FORMAT_MOVED;
}

static bool is_left(const struct log_request *request)
{
	return has_table(request) && request->taken < request->count;
}

static uint32_t payload_bytes(const struct log_request *request, uint32_t i)
{
	return request->type == FORMAT_DATA ? request->len[i] : request->moves[i].len;
}

/* The next piece of a request that fits into a room. */
struct cut {
	uint32_t n;
	uint32_t taken; /* of the request, with the moves that were dropped */
	uint64_t body_bytes;
	uint16_t item[FORMAT_RECORD_BLOCKS]; /* of len[], hash[] or moves[] */
};

/* False: nothing fits. Zeros are one record whatever their count. */
static bool cut_piece(const struct log_request *request, uint64_t room, struct cut *cut)
{
	uint32_t i = request->taken;

	cut->n = 0;
	cut->body_bytes = 0;
	for (; has_table(request) && i < request->count; i++) {
		uint64_t more = cut->body_bytes + record_block_bytes(payload_bytes(request, i));

		if (request->type == FORMAT_MOVED && request->moves[i].count == 0)
			continue;
		if (cut->n == FORMAT_RECORD_BLOCKS ||
			round_up(record_head_bytes(request->type, cut->n + 1) + more, 8) >
				room)
			break;
		cut->body_bytes = more;
		cut->item[cut->n++] = (uint16_t)i;
	}
	cut->taken = i - request->taken;
	return cut->n > 0 || (!has_table(request) && room >= RECORD_BARE_BYTES);
}

static void batch_iov(struct batch *batch, const void *base, size_t len)
{
	if (len > 0)
		batch->iov[batch->n_iov++] =
			(struct iovec){.iov_base = (void *)(uintptr_t)base, .iov_len = len};
	batch->bytes += len;
}

/* What the table will say, from the request. */
static void fill_table(const struct log_request *request, const struct cut *cut, struct record *r)
{
	struct format_moved *table;

	for (uint32_t i = 0; i < cut->n; i++)
		r->len[i] = (uint16_t)payload_bytes(request, cut->item[i]);
	r->moved = NULL;
	if (request->type != FORMAT_MOVED)
		return;
	table = (struct format_moved *)(request->head + sizeof(struct format_record));
	for (uint32_t i = 0; i < cut->n; i++)
		table[i] = move_encode(&request->moves[cut->item[i]], r->lsn);
	r->moved = table;
}

/* Fill in the block sums of a record, in the request's body. Returns how many. */
static uint32_t seal_body(const struct record_place *place, const struct record *r,
	const struct log_request *request, const struct cut *cut, uint64_t *sums)
{
	uint64_t at = place->pos + record_head_bytes(r->type, r->n);
	uint8_t *body = request->body;
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n; i++) {
		uint32_t item = cut->item[i];
		le64 sum;

		if (r->len[i] == 0)
			continue;
		sums[n] = record_block_sum(place, at, record_entry(r, i).block,
			request->type == FORMAT_DATA ? request->hash[item] :
						       request->moves[item].hash);
		sum = le64_put(sums[n++]);
		memcpy(body, &sum, sizeof(sum));
		at += record_block_bytes(r->len[i]);
		body += record_block_bytes(r->len[i]);
	}
	return n;
}

/* Which blocks the record is about, by its header. */
static void fill_range(const struct log_request *request, const struct cut *cut, struct record *r)
{
	r->block = r->count = 0;
	if (request->type == FORMAT_MOVED || request->type == FORMAT_END)
		return;
	r->block = request->block + request->taken;
	r->count = request->type == FORMAT_DATA ? cut->n : request->count;
}

/* Put one record into the batch: a piece of the request. */
static void batch_add(struct log *log, struct batch *batch, struct log_request *request,
	const struct cut *cut)
{
	uint64_t sums[FORMAT_RECORD_BLOCKS];
	uint8_t *head = request->type == FORMAT_MOVED ?
		request->head : log->heads + batch->n * RECORD_DATA_HEAD_MAX;
	struct piece *piece = &batch->piece[batch->n++];
	struct record *r = &piece->record;
	struct record_place place = {
		.key = log->key,
		.epoch = log->tail.epoch,
		.seq = log->tail.seq,
		.pos = log_tail_pos(log) + batch->bytes,
		.prev_sum = batch->chain,
	};
	uint64_t bytes = record_head_bytes(request->type, cut->n) + cut->body_bytes;
	uint32_t n_sums;

	piece->request = request;
	piece->pos = place.pos;
	r->type = request->type;
	r->lsn = log->next_lsn++;
	r->n = cut->n;
	r->length = (uint32_t)round_up(bytes, 8);
	fill_range(request, cut, r);
	fill_table(request, cut, r);
	n_sums = seal_body(&place, r, request, cut, sums);
	batch_iov(batch, head, record_encode(&place, r, sums, n_sums, head));
	batch_iov(batch, request->body, cut->body_bytes);
	batch_iov(batch, zeros, r->length - bytes);
	batch->chain = r->sum;
	batch->index_pages += log_index_pages(r);
	request->taken += cut->taken;
	if (cut->body_bytes > 0)
		request->body += cut->body_bytes;
}

/* How many entries from i on lie one block behind the other, all of them data
 * or all of them zeros of one block. Of DATA that is all. */
static uint32_t neighbours(const struct record *r, uint32_t i)
{
	struct record_entry e = record_entry(r, i);
	uint32_t n = 1;

	if (r->type == FORMAT_DATA)
		return r->n - i;
	while (i + n < r->n && e.len > 0) {
		struct record_entry next = record_entry(r, i + n);

		if (next.len == 0 || next.block != e.block + n)
			break;
		n++;
	}
	return n;
}

uint32_t log_index_pages(const struct record *record)
{
	uint32_t pages = 0;

	if (record->type == FORMAT_END)
		return 0;
	if (record->n == 0)
		return index_pages_for(1);
	for (uint32_t i = 0, n; i < record->n; i += n) {
		n = neighbours(record, i);
		pages += index_pages_for(n);
	}
	return pages;
}

static void index_table(struct log *log, const struct record *record, uint64_t pos)
{
	struct index_place place[FORMAT_RECORD_BLOCKS];
	uint64_t at = pos + record->body;

	for (uint32_t i = 0; i < record->n; i++) {
		place[i] = (struct index_place){.pos = at, .len = record->len[i]};
		at += record_block_bytes(record->len[i]);
	}
	for (uint32_t i = 0, n; i < record->n; i += n) {
		struct record_entry e = record_entry(record, i);

		n = neighbours(record, i);
		if (record->type == FORMAT_MOVED && e.len == 0)
			index_put_zero(&log->index, e.block, e.count);
		else
			index_put_data(&log->index, e.block, n, place + i);
	}
}

void log_index_record(struct log *log, const struct record *record, uint64_t pos)
{
	segment_note(&log->segments, slot_of(pos), record->type == FORMAT_END,
		record_others(record));
	switch (record->type) {
	case FORMAT_DATA:
	case FORMAT_MOVED:
		index_table(log, record, pos);
		break;
	case FORMAT_ZERO:
		index_put_zero(&log->index, record->block, record->count);
		break;
	case FORMAT_BAD:
		index_put_bad(&log->index, record->block, record->count);
		break;
	case FORMAT_END:
		break;
	}
}

/* Moving and sealing is no write of the guest's. */
static void count_piece_locked(struct log *log, const struct record *r)
{
	if (r->type == FORMAT_MOVED || r->type == FORMAT_BAD || r->type == FORMAT_END) {
		log->moved_bytes += r->length;
		return;
	}
	log->appended_bytes += r->length;
	log->written_sec = (uint64_t)time(NULL);
}

/* First what a flush has to sync, then what readers find: whoever sees a block
 * and flushes must not lose it. */
static void publish(struct log *log, const struct batch *batch)
{
	{
		SCOPED_LOCK(&log->lock);
		log->appended_lsn = batch->piece[batch->n - 1].record.lsn;
		for (uint32_t i = 0; i < batch->n; i++)
			count_piece_locked(log, &batch->piece[i].record);
	}
	for (uint32_t i = 0; i < batch->n; i++)
		log_index_record(log, &batch->piece[i].record, batch->piece[i].pos);
}

/* Ask for write-back once enough is dirty, up to the last whole page: the
 * page at the end will be written to again. */
static void pace_writeback(struct log *log)
{
	uint64_t pos = log_tail_pos(log);

	if (pos < log->writeback_from || pos - log->writeback_from > SLOT_FULL_BYTES)
		log->writeback_from = pos;
	if (pos - log->writeback_from < LOG_WRITEBACK_BYTES)
		return;
	log->io->start_writeback(log->io, log->log_fd, log->writeback_from,
		round_down(pos, FORMAT_PAGE) - log->writeback_from);
	log->writeback_from = round_down(pos, FORMAT_PAGE);
}

/* Write the batch, publish it, empty it. On failure the end stays. */
static int batch_write(struct log *log, struct batch *batch)
{
	uint64_t pos = log_tail_pos(log), bytes = batch->bytes;
	int rc;

	if (batch->n == 0)
		return 0;
	/* Nobody would take a record with that number for one. */
	rc = log->next_lsn > FORMAT_COUNTER_MAX ? log_break(log) : 0;
	if (rc == 0)
		rc = index_reserve(&log->index, batch->index_pages);
	if (rc == 0) {
		batch_iov(batch, zeros, round_up(pos + bytes, FORMAT_PAGE) - pos - bytes);
		rc = log_space_error(io_writev_full(
			log->io, log->log_fd, batch->iov, (int)batch->n_iov, pos));
	}
	if (rc == 0) {
		log->end += bytes;
		log->chain = batch->chain;
		publish(log, batch);
	}
	for (uint32_t i = 0; rc < 0 && i < batch->n; i++)
		batch->piece[i].request->rc = rc;
	batch_init(batch, log);
	if (rc == 0)
		pace_writeback(log);
	return rc;
}

/* What makes room may take the space that is kept for it. */
static int next_segment(struct log *log, enum format_type type)
{
	int rc = log_next_segment(log, type != FORMAT_DATA);

	if (rc == -ENOSPC)
		atomic_store(&log->cleaner.wanting, true);
	if (rc == 0)
		clean_check_limit(log);
	return rc;
}

/* Cut the next piece of a request and make room for it: else write what there
 * is, and change the segment when even an empty batch has none. */
static int make_room(struct log *log, struct batch *batch, const struct log_request *request,
	struct cut *cut)
{
	for (;;) {
		bool fits = cut_piece(request, room_left(log, batch), cut);
		int rc;

		if (fits && batch->n < LOG_BATCH_RECORDS && batch->bytes < LOG_BATCH_BYTES)
			return 0;
		if (batch->n > 0) {
			rc = batch_write(log, batch);
		} else {
			rc = next_segment(log, request->type);
			batch->chain = log->chain; /* behind the END of the old one */
		}
		if (rc < 0)
			return rc;
	}
}

/* What is to stay as it is, only in another place: the index tells what still
 * is so, once all before it is in the index. False: nothing is. */
static bool still_counts(struct log *log, struct batch *batch, struct log_request *request)
{
	if (request->type != FORMAT_MOVED && !request->keep)
		return true;
	batch_write(log, batch);
	if (request->type == FORMAT_MOVED)
		return moves_drop_stale(&log->index, request->moves, (uint32_t)request->count,
			request->body) > 0;
	moves_cut_run(&log->index, DELTA_BAD, &request->block, &request->count);
	return request->count > 0;
}

/* Put all of a request into batches. It stops when an earlier piece failed, or
 * when the log broke while it was queued. */
static void batch_request(struct log *log, struct batch *batch, struct log_request *request)
{
	struct cut cut;

	if (!still_counts(log, batch, request))
		return;
	do {
		int rc = atomic_load(&log->broken);

		if (rc == 0)
			rc = make_room(log, batch, request, &cut);
		if (rc < 0)
			request->rc = rc;
		if (request->rc < 0)
			return;
		batch_add(log, batch, request, &cut);
	} while (is_left(request));
}

/* Write all of a queue. */
static void lead(struct log *log, struct log_request *queue)
{
	struct batch batch;

	batch_init(&batch, log);
	for (struct log_request *r = queue; r; r = r->next)
		batch_request(log, &batch, r);
	batch_write(log, &batch);
}

int log_seal(struct log *log)
{
	struct log_request request = {.type = FORMAT_END};
	struct cut cut = {0};
	struct batch batch;
	int rc = atomic_load(&log->broken);

	if (rc < 0 || !log->tail.seq || log->tail_sealed)
		return rc;
	batch_init(&batch, log);
	batch_add(log, &batch, &request, &cut);
	rc = batch_write(log, &batch);
	log->tail_sealed = rc == 0;
	return rc;
}

static struct log_request *take_queue_locked(struct log *log)
{
	struct log_request *queue = log->queue;

	log->queue = NULL;
	log->queue_end = &log->queue;
	return queue;
}

/* Requests live on their owners' stacks: mark each done only after its
 * successor was read. */
static void finish_queue_locked(struct log *log, struct log_request *queue)
{
	while (queue) {
		struct log_request *next = queue->next;

		queue->done = true;
		queue = next;
	}
}

void log_take_lead(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	while (log->leading)
		pthread_cond_wait(&log->wake, &log->lock);
	log->leading = true;
}

void log_give_lead(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	log->leading = false;
	pthread_cond_broadcast(&log->wake);
}

int log_append(struct log *log, struct log_request *request)
{
	struct log_request *queue;
	int rc = atomic_load(&log->frozen) ? -EROFS : atomic_load(&log->broken);

	if (rc < 0)
		return rc;
	request->next = NULL;
	request->taken = 0;
	request->rc = 0;
	request->done = false;
	SCOPED_LOCK(&log->lock);
	*log->queue_end = request;
	log->queue_end = &request->next;
	while (!request->done && log->leading)
		pthread_cond_wait(&log->wake, &log->lock);
	if (request->done)
		return request->rc;
	log->leading = true;
	queue = take_queue_locked(log);
	pthread_mutex_unlock(&log->lock);
	lead(log, queue);
	pthread_mutex_lock(&log->lock);
	log->leading = false;
	finish_queue_locked(log, queue);
	pthread_cond_broadcast(&log->wake);
	return request->rc;
}
