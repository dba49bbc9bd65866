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

/* What is left of the tail segment for records of this life. */
static uint64_t room_left(const struct log *log, const struct batch *batch)
{
	if (!log_lives(log) || log->tail_closed)
		return 0;
	return slot_bytes(log->tail.slot) - log->end - batch->bytes;
}

/* Length of a record whose table has n entries, before its padding. */
static uint64_t record_bytes(uint32_t n, uint64_t body_bytes)
{
	return sizeof(struct format_record) + record_table_bytes(n) + body_bytes;
}

/* How much of what is left of a request fits into room; false: nothing does.
 * Zeros are one record whatever their count. */
static bool cut_piece(const struct log_request *request, uint64_t room, uint32_t *ret_n,
	uint64_t *ret_body_bytes)
{
	uint64_t body_bytes = 0;
	uint32_t n = 0;

	while (request->type == FORMAT_DATA && request->taken + n < request->count) {
		uint64_t more = body_bytes + record_block_bytes(request->len[request->taken + n]);

		if (round_up(record_bytes(n + 1, more), 8) > room)
			break;
		body_bytes = more;
		n++;
	}
	*ret_n = n;
	*ret_body_bytes = body_bytes;
	return n > 0 || (request->type == FORMAT_ZERO && room >= record_bytes(0, 0));
}

static void batch_iov(struct batch *batch, const void *base, size_t len)
{
	if (len > 0)
		batch->iov[batch->n_iov++] =
			(struct iovec){.iov_base = (void *)(uintptr_t)base, .iov_len = len};
	batch->bytes += len;
}

/* Fill in the block sums of a record, in the request's body. Returns how many. */
static uint32_t seal_body(const struct record_place *place, const struct record *r,
	const struct log_request *request, uint64_t *sums)
{
	uint64_t at = place->pos + record_bytes(r->n, 0);
	uint8_t *body = request->body;
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n; i++) {
		le64 sum;

		if (r->len[i] == 0)
			continue;
		sums[n] = record_block_sum(
			place, at, r->block + i, request->hash[request->taken + i]);
		sum = le64_put(sums[n++]);
		memcpy(body, &sum, sizeof(sum));
		at += record_block_bytes(r->len[i]);
		body += record_block_bytes(r->len[i]);
	}
	return n;
}

/* Put one record into the batch: the next n blocks of the request. */
static void batch_add(struct log *log, struct batch *batch, struct log_request *request,
	uint32_t n, uint64_t body_bytes)
{
	uint64_t sums[FORMAT_RECORD_BLOCKS];
	uint8_t *head = log->heads + batch->n * RECORD_HEAD_MAX;
	struct piece *piece = &batch->piece[batch->n++];
	struct record *r = &piece->record;
	struct record_place place = {
		.key = log->key,
		.epoch = log->tail.epoch,
		.seq = log->tail.seq,
		.pos = log_tail_pos(log) + batch->bytes,
		.prev_sum = batch->chain,
	};
	uint64_t bytes = record_bytes(n, body_bytes);

	piece->request = request;
	piece->pos = place.pos;
	r->type = request->type;
	r->lsn = log->next_lsn++;
	r->block = request->block + request->taken;
	r->n = n;
	r->count = request->type == FORMAT_DATA ? n : request->count;
	r->length = (uint32_t)round_up(bytes, 8);
	if (n > 0)
		memcpy(r->len, request->len + request->taken, n * sizeof(r->len[0]));
	batch_iov(batch, head,
		record_encode(&place, r, sums, seal_body(&place, r, request, sums), head));
	batch_iov(batch, request->body, body_bytes);
	batch_iov(batch, zeros, r->length - bytes);
	batch->chain = r->sum;
	batch->index_pages += index_pages_for(n > 0 ? n : 1);
	request->taken += n;
	if (body_bytes > 0)
		request->body += body_bytes;
}

void log_index_record(struct log *log, const struct record *record, uint64_t pos)
{
	struct index_place place[FORMAT_RECORD_BLOCKS];
	uint64_t at = pos + record->body;

	if (record->type == FORMAT_ZERO) {
		index_put_zero(&log->index, record->block, record->count);
		return;
	}
	for (uint32_t i = 0; i < record->n; i++) {
		place[i] = (struct index_place){.pos = at, .len = record->len[i]};
		at += record_block_bytes(record->len[i]);
	}
	index_put_data(&log->index, record->block, record->n, place);
}

/* First what a flush has to sync, then what readers find: whoever sees a block
 * and flushes must not lose it. */
static void publish(struct log *log, const struct batch *batch)
{
	{
		SCOPED_LOCK(&log->lock);
		log->appended_lsn = batch->piece[batch->n - 1].record.lsn;
		log->written_sec = (uint64_t)time(NULL);
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
	batch->n = batch->n_iov = batch->index_pages = 0;
	batch->bytes = 0;
	batch->chain = log->chain;
	if (rc == 0)
		pace_writeback(log);
	return rc;
}

/* Cut the next piece of a request and make room for it: else write what there
 * is, and change the segment when even an empty batch has none. */
static int make_room(struct log *log, struct batch *batch, const struct log_request *request,
	uint32_t *ret_n, uint64_t *ret_body_bytes)
{
	for (;;) {
		bool fits = cut_piece(request, room_left(log, batch), ret_n, ret_body_bytes);
		int rc;

		if (fits && batch->n < LOG_BATCH_RECORDS && batch->bytes < LOG_BATCH_BYTES)
			return 0;
		rc = batch->n > 0 ? batch_write(log, batch) : log_next_segment(log);
		if (rc < 0)
			return rc;
	}
}

/* Put all of a request into batches. It stops when an earlier piece failed, or
 * when the log broke while it was queued. */
static void batch_request(struct log *log, struct batch *batch, struct log_request *request)
{
	uint64_t body_bytes = 0;
	uint32_t n = 0;

	do {
		int rc = atomic_load(&log->broken);

		if (rc == 0)
			rc = make_room(log, batch, request, &n, &body_bytes);
		if (rc < 0)
			request->rc = rc;
		if (request->rc < 0)
			return;
		batch_add(log, batch, request, n, body_bytes);
	} while (request->type == FORMAT_DATA && request->taken < request->count);
}

/* Write all of a queue. */
static void lead(struct log *log, struct log_request *queue)
{
	struct batch batch;

	batch.n = batch.n_iov = batch.index_pages = 0;
	batch.bytes = 0;
	batch.chain = log->chain;
	for (struct log_request *r = queue; r; r = r->next)
		batch_request(log, &batch, r);
	batch_write(log, &batch);
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
	int rc = atomic_load(&log->broken);

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
