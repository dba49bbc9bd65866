/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A log put together as the input says, every piece sealed. room: fs/store
 *
 * Checksums keep a fuzzer that only changes bytes out, so the input is read as
 * a recipe: fields of the super block, of segments and of their records, right
 * or wrong, and all get right sums; at the end some bytes may be changed.
 * Whatever comes of it: opening says yes or no; after a yes every block reads
 * or fails, it can be written to, and once closed it opens again and reads the
 * same. The checker agrees, and what it repairs is clean.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/store/record.h"
#include "fs/store/segment.h"
#include "fs/util/hash.h"
#include "fs/util/id.h"
#include "fs/util/round.h"
#include "tests/lib/image.h"
#include "tests/lib/thin.h"
#include "tests/lib/tryrepair.h"

#define NAME "00112233445566778899aabbccddeeff"
#define SLOTS 3
#define LOG_BYTES (256u << 10 | 512u << 10 | 1u << 20)
#define READ_BLOCKS 512 /* of a disk that may be huge */

struct input {
	const uint8_t *data;
	size_t left;
};

/* What the recipe has made so far. */
static struct {
	struct input in;
	struct super super;
	uint8_t *log;
	size_t log_size;
	uint64_t end[256]; /* of the segment with that sequence */
	uint64_t chain[256];
	char dir[64];
	int dirfd;
} f;

static void cleanup(void)
{
	image_clear(f.dir);
	rmdir(f.dir);
}

/* A broken promise: say which, and leave nothing behind. */
static void die(const char *what)
{
	fprintf(stderr, "fuzz-log: %s\n", what);
	cleanup();
	abort();
}

static uint64_t take(size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < bytes; i++) {
		if (f.in.left == 0)
			return value;
		value |= (uint64_t)*f.in.data++ << 8 * i;
		f.in.left--;
	}
	return value;
}

/* The right value, unless the recipe wants another. */
static uint64_t take_or(uint64_t right)
{
	return take(1) & 1 ? take(8) : right;
}

static void put(uint64_t pos, const void *data, size_t len)
{
	if (outside(pos, len, LOG_BYTES))
		return;
	memcpy(f.log + pos, data, len);
	f.log_size = max_u64(f.log_size, pos + len);
}

/* Payload: some bytes of the recipe, over and over. */
static void fill_payload(uint8_t *payload, size_t len)
{
	uint8_t seed[8];

	for (size_t i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)take(1);
	for (size_t i = 0; i < len; i++)
		payload[i] = seed[i % sizeof(seed)];
}

/* The table of a record of moved blocks; lengths come with the body. */
static void make_table(struct record *r, struct format_moved *table)
{
	for (uint32_t i = 0; i < r->n; i++)
		table[i] = (struct format_moved){
			.block = le64_put(take(1)),
			.lsn = le64_put(take_or(r->lsn - 1)),
			.count = le64_put(take_or(1)),
		};
	r->moved = table;
}

static uint64_t block_of(const struct record *r, uint32_t i)
{
	return r->type == FORMAT_MOVED ? le64_get(r->moved[i].block) : r->block + i;
}

/* A body for r at place; fills sums. Returns the bytes of it. */
static size_t make_body(const struct record_place *place, struct record *r,
	struct format_moved *table, uint8_t *body, uint64_t *sums)
{
	size_t at = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n; i++) {
		uint64_t pos = place->pos + record_head_bytes(r->type, r->n) + at;
		uint8_t kind = (uint8_t)take(1);
		le64 raw;

		r->len[i] = kind < 64 ? 0 : kind < 128 ? DELTA_BLOCK_BYTES : (uint16_t)take(2);
		table[i].len = le16_put(r->len[i]);
		if (r->len[i] == 0)
			continue;
		fill_payload(body + at + FORMAT_BLOCK_SUM, r->len[i]);
		sums[n] = record_block_sum(place, pos, block_of(r, i),
			hash64(body + at + FORMAT_BLOCK_SUM, r->len[i], 0));
		raw = le64_put(sums[n++]);
		memcpy(body + at, &raw, sizeof(raw));
		at += record_block_bytes(r->len[i]);
	}
	return at;
}

static uint32_t count_payloads(const struct record *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n; i++)
		n += r->len[i] > 0;
	return n;
}

/* One record at *end of the segment; moves *end and *chain on. */
static void make_record(const struct segment *s, uint64_t *end, uint64_t *chain, uint64_t *lsn)
{
	static uint8_t bytes[RECORD_HEAD_MAX + 16 * (FORMAT_BLOCK_SUM + 65536) + 8];
	uint64_t sums[16];
	struct format_moved table[16];
	struct record r = {.type = FORMAT_DATA};
	struct record_place place = {
		.key = f.super.key,
		.epoch = s->epoch,
		.seq = s->seq,
		.pos = slot_start(s->slot) + *end,
		.prev_sum = *chain,
	};
	size_t head;
	size_t body;

	if (take(1) & 1)
		r.type = (enum format_type)take(2);
	r.n = r.type == FORMAT_DATA ? 1 + (uint32_t)take(1) % 16 : (uint32_t)take(1) % 16 & 3;
	if (r.type == FORMAT_ZERO)
		r.n = 0;
	r.block = take(2);
	r.count = take_or(r.type == FORMAT_DATA ? r.n : 1 + take(2));
	if (r.type == FORMAT_MOVED || r.type == FORMAT_END)
		r.block = r.count = take_or(0);
	r.lsn = take_or(*lsn + 1);
	head = record_head_bytes(r.type, r.n);
	memset(bytes, 0, head);
	memset(table, 0, sizeof(table));
	if (r.type == FORMAT_MOVED)
		make_table(&r, table);
	body = make_body(&place, &r, table, bytes + head, sums);
	memset(bytes + head + body, 0, 8); /* the padding */
	r.length = (uint32_t)take_or(round_up(head + body, 8));
	record_encode(&place, &r, sums, count_payloads(&r), bytes);
	put(place.pos, bytes, round_up(head + body, 8));
	*end += round_up(head + body, 8);
	*chain = r.sum;
	*lsn = r.lsn;
}

static void make_segment(uint32_t slot, uint64_t *lsn)
{
	struct segment s = {.slot = slot, .seq = (uint8_t)take_or(slot + 1)};
	struct format_segment raw;
	uint64_t end = FORMAT_PAGE;
	uint64_t chain;
	unsigned int records = (unsigned int)take(1) % 16;

	s.epoch = take(1);
	s.prev_seq = take_or(slot);
	s.prev_slot = (uint32_t)take_or(slot ? slot - 1 : 0);
	s.durable_slots = (uint32_t)take_or(0);
	s.free = (take(1) & 7) == 7;
	s.prev_end = take_or(f.end[s.prev_seq & 255]);
	s.prev_sum = take_or(f.chain[s.prev_seq & 255]);
	s.first_lsn = take_or(*lsn + 1);
	s.durable_lsn = take_or(0);
	chain = s.prev_sum;
	segment_encode(&s, &f.super, &raw);
	put(slot_start(slot), &raw, sizeof(raw));
	for (unsigned int i = 0; i < records; i++)
		make_record(&s, &end, &chain, lsn);
	f.end[s.seq & 255] = end;
	f.chain[s.seq & 255] = chain;
}

static void make_super(uint64_t lsn)
{
	uint64_t last = take_or(SLOTS) & 255;

	f.super.generation = 2;
	f.super.size_bytes = take_or(512 * (1 + take(2)));
	f.super.epoch = take(1);
	f.super.life_seq = take_or(0);
	f.super.life_slot = (uint32_t)take_or(0);
	f.super.clean = take(1) & 1;
	f.super.end_seq = last;
	f.super.end_off = take_or(f.end[last]);
	f.super.end_sum = take_or(f.chain[last]);
	f.super.durable_lsn = take_or(0) % max_u64(lsn + 2, 1);
}

static void change_bytes(void)
{
	while (f.in.left > 0) {
		uint64_t pos = take(3) % LOG_BYTES;

		f.log[pos] ^= (uint8_t)take(1);
		f.log_size = max_u64(f.log_size, pos + 1);
	}
}

static void write_file(const char *name, const void *data, size_t len)
{
	int fd = openat(f.dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || io_write_full(&io_kernel, fd, data, len, 0) < 0)
		abort();
	close(fd);
}

static void write_files(void)
{
	struct format_super raw[2];

	memset(raw, 0, sizeof(raw));
	super_encode(&f.super, &raw[0]);
	write_file(NAME ".super", raw, sizeof(raw));
	write_file(NAME ".log", f.log, f.log_size);
}

/* Hash of owner and content of the first blocks; -errno of those that fail
 * counts as content. */
static uint64_t read_all(struct delta *delta)
{
	static uint8_t buf[DELTA_BLOCK_BYTES];
	uint64_t blocks = (delta_size(delta) + DELTA_BLOCK_BYTES - 1) / DELTA_BLOCK_BYTES;
	uint64_t sum = blocks;
	uint64_t run = 0;

	for (uint64_t b = 0; b < min_u64(blocks, READ_BLOCKS); b++) {
		enum delta_owner owner = DELTA_ABSENT;
		int rc;

		memset(buf, 0, sizeof(buf));
		rc = delta_read(delta, buf, 1, b, false, &owner);
		if (rc == 0 || rc > 1)
			die("a read of one block gave another number");
		sum = hash64(buf, sizeof(buf), sum + (uint64_t)owner * 3 + (rc < 0));
	}
	for (uint64_t b = 0; b < blocks; b += run) {
		delta_map(delta, b, blocks - b, &run);
		if (run == 0 || run > blocks - b)
			die("a run of no length, or beyond the disk");
		if (b > READ_BLOCKS && run < blocks - b)
			break;
	}
	return sum;
}

static struct delta *open_it(void)
{
	struct delta *delta;
	struct err err;
	const struct delta_options options = {.io = io_thin, .force_takeover = true};
	int rc = delta_open(f.dirfd, NAME, &options, &delta, &err);

	if (rc < 0 && (rc != err.code || !err.message[0]))
		die("an error without its message");
	return rc < 0 ? NULL : delta;
}

static void reopen_and_compare(uint64_t before, struct delta **ret_delta, const char *what)
{
	*ret_delta = open_it();
	if (!*ret_delta)
		die(what);
	if (read_all(*ret_delta) != before)
		die("it reads otherwise when opened again");
}

static void live_on(struct delta *delta)
{
	static uint8_t block[DELTA_BLOCK_BYTES];
	uint64_t before = read_all(delta);

	if (delta_close(delta) < 0)
		die("it does not close");
	reopen_and_compare(before, &delta, "it does not open after a clean close");
	memset(block, 0x5a, sizeof(block));
	if (delta_write(delta, block, 1, 0) < 0 || delta_flush(delta) < 0)
		die("it cannot be written to");
	before = read_all(delta);
	delta_abandon(delta);
	reopen_and_compare(before, &delta, "it does not open after a kill");
	if (delta_close(delta) < 0)
		die("it does not close");
}

static void setup(void)
{
	snprintf(f.dir, sizeof(f.dir), "/dev/shm/lazyclone-fuzz.XXXXXX");
	if (!mkdtemp(f.dir))
		abort();
	f.dirfd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f.log = need_memory(malloc(LOG_BYTES));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct delta *delta;
	const char *broken;
	uint64_t lsn = 0;

	if (!f.log) {
		setup();
		atexit(cleanup);
		thin_keep_memory();
	}
	memset(&f.super, 0, sizeof(f.super));
	memset(f.log, 0, f.log_size);
	memset(f.end, 0, sizeof(f.end));
	memset(f.chain, 0, sizeof(f.chain));
	f.log_size = 0;
	f.in = (struct input){data, size};
	id_parse(NAME, &f.super.id);
	f.super.key[0] = 1;
	f.super.key[1] = 2;
	for (uint32_t slot = 0; slot < SLOTS && !(take(1) & 1); slot++)
		make_segment(slot, &lsn);
	make_super(lsn);
	change_bytes();
	write_files();
	broken = try_repair(io_thin, f.dirfd, NAME);
	if (broken)
		die(broken);
	delta = open_it();
	if (delta)
		live_on(delta);
	return 0;
}
