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

#include <assert.h>
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
	uint32_t first; /* block of the request it begins with */
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

/* ENOSPC is what QEMU pauses a guest for; a quota is no different. */
static int space_error(int rc)
{
	return rc == -EDQUOT ? -ENOSPC : rc;
}

/* Did another opener take the disk over? */
static int check_owner(struct log *log)
{
	struct super now;
	int rc = super_read(log->io, log->super_fd, &now, NULL);

	if (rc < 0)
		return -EIO;
	return now.generation == log->super.generation && now.epoch == log->super.epoch ? 0 : -EIO;
}

int log_break(struct log *log)
{
	SCOPED_LOCK(&log->lock);

	log->broken = -EIO;
	return -EIO;
}

/* Allocate the next slot and write a segment header into it. The tail moves
 * there; nothing is synced. */
static int start_segment(struct log *log)
{
	struct segment next = {
		.slot = log->segments.count,
		.seq = log->max_seq + 1,
		.epoch = log->epoch,
		.first_lsn = log->next_lsn,
		.prev_seq = log->tail.seq ? log->tail.seq : log->prev_seq,
		.prev_end = log->tail.seq ? log->end : log->prev_end,
		.prev_sum = log->chain,
	};
	struct format_segment raw;
	int rc;

	if (check_owner(log) < 0)
		return log_break(log);
	{
		SCOPED_LOCK(&log->lock);
		next.durable_lsn = log->durable_lsn;
	}
	rc = log->io->fallocate(log->io, log->log_fd, 0, slot_start(next.slot), slot_bytes(next.slot));
	if (rc < 0 && rc != -EOPNOTSUPP) /* no allocation ahead there: doctor warns */
		return space_error(rc);
	segment_encode(&next, &log->super, &raw);
	rc = io_write_full(log->io, log->log_fd, &raw, sizeof(raw), slot_start(next.slot));
	if (rc == 0)
		rc = segment_table_put(&log->segments, &next);
	if (rc < 0)
		return space_error(rc);
	log->tail = next;
	log->end = FORMAT_PAGE;
	log->max_seq = next.seq;
	return 0;
}

/* Its header is durable before the super block names it. */
static int start_first_segment(struct log *log)
{
	int rc = start_segment(log);

	if (rc == 0 && log->io->fdatasync(log->io, log->log_fd) < 0)
		return log_break(log);
	return rc;
}

/* Tried again by the next append when there was no space for the super block
 * (file systems that never write in place): then the segment is there already. */
int log_start_life(struct log *log)
{
	struct super next = log->super;
	int rc = log->tail.seq ? 0 : start_first_segment(log);

	if (rc < 0)
		return rc;
	next.clean = false;
	next.epoch = log->epoch;
	next.life_seq = log->tail.seq;
	super_self(&next.host, &next.boot);
	{
		SCOPED_LOCK(&log->lock);
		next.durable_lsn = log->durable_lsn;
	}
	rc = space_error(super_write(log->io, log->super_fd, &next));
	if (rc < 0)
		return rc == -ENOSPC ? rc : log_break(log);
	log->super = next;
	return 0;
}

static uint64_t room_left(const struct log *log, const struct batch *batch)
{
	return slot_bytes(log->tail.slot) - log->end - batch->bytes;
}

/* Length of a data record of the n blocks from first on. */
static uint64_t data_record_bytes(const struct log_request *request, uint32_t first, uint32_t n)
{
	uint64_t bytes = sizeof(struct format_record) + record_table_bytes(n);

	for (uint32_t i = first; i < first + n; i++)
		bytes += record_block_bytes(request->len[i]);
	return round_up(bytes, 8);
}

/* How many blocks from first on fit into room; 0 if not even one. */
static uint32_t blocks_that_fit(const struct log_request *request, uint32_t first, uint64_t room)
{
	uint64_t body = 0;
	uint32_t n = 0;

	while (first + n < request->count) {
		body += record_block_bytes(request->len[first + n]);
		if (round_up(sizeof(struct format_record) + record_table_bytes(n + 1) + body, 8) >
			room)
			break;
		n++;
	}
	return n;
}

static void batch_iov(struct batch *batch, const void *base, size_t len)
{
	if (len > 0)
		batch->iov[batch->n_iov++] =
			(struct iovec){.iov_base = (void *)(uintptr_t)base, .iov_len = len};
	batch->bytes += len;
}

/* Fill in the block sums of a piece, in the request's body. */
static uint32_t seal_body(const struct record_place *place, struct piece *piece, uint8_t *body,
	uint64_t *sums)
{
	struct record *r = &piece->record;
	uint64_t at = place->pos + sizeof(struct format_record) + record_table_bytes(r->n);
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n; i++) {
		le64 sum;

		if (r->len[i] == 0)
			continue;
		sums[n] = record_block_sum(
			place, at, r->block + i, piece->request->hash[piece->first + i]);
		sum = le64_put(sums[n++]);
		memcpy(body, &sum, sizeof(sum));
		at += record_block_bytes(r->len[i]);
		body += record_block_bytes(r->len[i]);
	}
	return n;
}

/* Offset of block first's sum in the request's body. */
static uint64_t body_offset(const struct log_request *request, uint32_t first)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < first; i++)
		at += record_block_bytes(request->len[i]);
	return at;
}

/* Put one record into the batch: n blocks of the request from first on. */
static void batch_add(struct log *log, struct batch *batch, struct log_request *request,
	uint32_t first, uint32_t n)
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
	uint32_t n_sums = 0;
	size_t head_len;

	piece->request = request;
	piece->pos = place.pos;
	piece->first = first;
	r->type = request->type;
	r->lsn = log->next_lsn++;
	r->block = request->block + first;
	r->n = n;
	r->count = request->type == FORMAT_DATA ? n : request->count;
	r->length = sizeof(struct format_record);
	if (request->type == FORMAT_DATA) {
		uint8_t *body = request->body + body_offset(request, first);
		uint64_t bytes = data_record_bytes(request, first, n);

		memcpy(r->len, request->len + first, n * sizeof(r->len[0]));
		n_sums = seal_body(&place, piece, body, sums);
		r->length = (uint32_t)bytes;
		head_len = record_encode(&place, r, sums, n_sums, head);
		batch_iov(batch, head, head_len);
		batch_iov(batch, body, body_offset(request, first + n) - (uint64_t)(body - request->body));
		batch_iov(batch, zeros, place.pos + bytes - (log_tail_pos(log) + batch->bytes));
	} else {
		head_len = record_encode(&place, r, NULL, 0, head);
		batch_iov(batch, head, head_len);
	}
	batch->chain = r->sum;
	batch->index_pages += index_pages_for(request->type == FORMAT_DATA ? n : 1);
}

/* Let the index point at what was written. */
static void publish_piece(struct log *log, const struct piece *piece)
{
	struct index_place place[FORMAT_RECORD_BLOCKS];
	const struct record *r = &piece->record;
	uint64_t at = piece->pos + r->body;

	if (r->type == FORMAT_ZERO) {
		index_put_zero(&log->index, r->block, r->count);
		return;
	}
	for (uint32_t i = 0; i < r->n; i++) {
		place[i] = (struct index_place){.pos = at, .len = r->len[i]};
		at += record_block_bytes(r->len[i]);
	}
	index_put_data(&log->index, r->block, r->n, place);
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
		rc = space_error(io_writev_full(
			log->io, log->log_fd, batch->iov, (int)batch->n_iov, pos));
	}
	if (rc == 0) {
		log->end += bytes;
		log->chain = batch->chain;
		for (uint32_t i = 0; i < batch->n; i++)
			publish_piece(log, &batch->piece[i]);
		SCOPED_LOCK(&log->lock);
		log->appended_lsn = batch->piece[batch->n - 1].record.lsn;
		log->written_sec = (uint64_t)time(NULL);
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

/* Room for another piece: else write what there is, and change the segment
 * when even an empty batch has none. */
static int make_room(struct log *log, struct batch *batch, const struct log_request *request,
	uint32_t first, uint32_t *ret_n)
{
	for (;;) {
		uint64_t room = log_lives(log) ? room_left(log, batch) : 0;
		int rc;

		if (request->type == FORMAT_DATA)
			*ret_n = blocks_that_fit(request, first, room);
		else
			*ret_n = room >= sizeof(struct format_record);
		if (*ret_n > 0 && batch->n < LOG_BATCH_RECORDS && batch->bytes < LOG_BATCH_BYTES)
			return 0;
		if (batch->n > 0)
			rc = batch_write(log, batch);
		else
			rc = log_lives(log) ? start_segment(log) : log_start_life(log);
		if (rc < 0)
			return rc;
		batch->chain = log->chain;
	}
}

/* Cut one request into pieces. A request whose earlier piece failed stops. */
static void batch_request(struct log *log, struct batch *batch, struct log_request *request)
{
	uint32_t first = 0, n;

	do {
		int rc = make_room(log, batch, request, first, &n);

		if (rc < 0 || request->rc < 0) {
			request->rc = request->rc < 0 ? request->rc : rc;
			return;
		}
		if (request->type == FORMAT_ZERO)
			n = 0; /* one record whatever its count */
		batch_add(log, batch, request, first, n);
		first += n;
	} while (request->type == FORMAT_DATA && first < request->count);
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

	request->next = NULL;
	request->rc = 0;
	request->done = false;
	SCOPED_LOCK(&log->lock);
	if (log->broken)
		return log->broken;
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
