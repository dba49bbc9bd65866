/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every problem that the checker knows, provoked: see problems.h. */
#include "tests/lib/problems.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/format.h"
#include "fs/store/handle.h"
#include "fs/util/hash.h"
#include "tests/lib/onestore.h"
#include "tests/lib/scratch.h"

bool problems_miscounted;
static struct delta *held; /* open */

/* ---- the store and its clones ---- */

#define SHELL(name_, command_)                                                                     \
	static void name_(void)                                                                    \
	{                                                                                          \
		assert_int_equal(scratch_run(NULL, "cd %s/store && " command_, onestore.top), 0);  \
	}

#define SOME_ID "0123456789abcdef0123456789abcdef"

SHELL(damage_label, "sed -i 's/\"checksum\": \"./\"checksum\": \"z/' lazyclone-store")
SHELL(remove_part, "rmdir trash")
SHELL(leave_temp, "touch lazyclone-store.x.tmp")
SHELL(leave_trash, "mkdir trash/0 && touch trash/0/a")
SHELL(leave_stage, "mkdir staging/" SOME_ID)
SHELL(damage_manifest, "echo x >>clones/web/manifest")
SHELL(leave_strays, "touch clones/web/" SOME_ID ".log clones/web/" SOME_ID ".super")
SHELL(leave_layer, "touch layers/" SOME_ID ".log layers/" SOME_ID ".super")
SHELL(make_manifest_newer, "sed -i 's/\"version\": 1/\"version\": 2/' clones/web/manifest")

/* As lazyclone-fsck does, which knows what a base is. */
static void look_for_base(void *ctx, struct check *check, const struct manifest *m)
{
	if (access(m->disks[0].base_path, F_OK) < 0)
		check_report(check, PROBLEM_BASE, m->name, "it is missing", NULL, NULL);
}

static void lose_base(void)
{
	onestore.clone = look_for_base;
}

static void change_manifest(const char *clone, void (*change)(struct manifest *m, uint64_t value),
	uint64_t value)
{
	struct store *store = onestore_open();
	struct manifest *m;

	assert_int_equal(store_manifest_read(store, clone, &m, NULL), 0);
	change(m, value);
	assert_int_equal(store_manifest_write(store, m, NULL), 0);
	manifest_free(m);
	store_close(store);
}

static void set_node(struct manifest *m, uint64_t value)
{
	m->node = value;
}

static void two_with_one_node(void)
{
	struct store *store = onestore_open();

	onestore_make_clone(store, "db");
	store_close(store);
	change_manifest("web", set_node, 7);
	change_manifest("db", set_node, 7);
}

static void add_bytes(struct manifest *m, uint64_t value)
{
	m->disks[0].size_bytes += value;
}

static void promise_more(void)
{
	change_manifest("web", add_bytes, DELTA_BLOCK_BYTES);
}

/* ---- a log ---- */

static void damage_super_copy(void)
{
	onestore_flip("super", 100, 1);
}

static void damage_supers(void)
{
	onestore_flip("super", 100, 1);
	onestore_flip("super", FORMAT_PAGE + 100, 1);
}

static void lose_log(void)
{
	onestore_unlink("log");
}

static void damage_checkpoint(void)
{
	onestore_flip("ckpt", 20, 1);
}

static void damage_first_record(void)
{
	onestore_flip("log", FORMAT_PAGE + 20, 1);
}

/* A block that has data, and where. */
static struct index_place data_of(struct delta *delta, uint64_t *ret_block)
{
	struct index_place place;
	uint64_t run;

	*ret_block = 0;
	while (index_get(&delta->log.index, *ret_block, 1, &run, &place) != DELTA_DATA)
		assert_true(++*ret_block < ONESTORE_BLOCKS);
	return place;
}

static void damage_payload(void)
{
	struct delta *delta = onestore_delta();
	uint64_t block;
	struct index_place place = data_of(delta, &block);

	assert_int_equal(delta_checkpoint(delta), 0); /* nothing of it is replayed */
	assert_int_equal(delta_close(delta), 0);
	onestore_flip("log", place.pos + FORMAT_BLOCK_SUM + 3, 1);
}

/* A fault of ours: the index is wrong when it is written out. */
static void write_wrong_checkpoint(void)
{
	struct delta *delta = onestore_delta();
	uint64_t block;

	data_of(delta, &block);
	assert_int_equal(index_reserve(&delta->log.index, index_pages_for(1)), 0);
	index_put_zero(&delta->log.index, block, 1);
	assert_int_equal(delta_checkpoint(delta), 0);
	assert_int_equal(delta_close(delta), 0);
}

/* A copy of a block's version that says to be older than one before it. */
static void append_older_version(void)
{
	static uint8_t head[RECORD_HEAD_MAX], body[FORMAT_BLOCK_SUM + DELTA_BLOCK_BYTES];
	struct delta *delta = onestore_delta();
	struct move move = {.count = 1, .lsn = 1};
	struct log_request request = {
		.type = FORMAT_MOVED, .count = 1, .moves = &move, .head = head, .body = body};
	struct index_place place;

	memset(body, 'a', sizeof(body));
	assert_int_equal(delta_write(delta, body, 1, 0), 0);
	place = data_of(delta, &move.block);
	assert_true(pread(delta->log.log_fd, body, FORMAT_BLOCK_SUM + place.len,
			    (off_t)place.pos) > 0);
	move.pos = place.pos;
	move.len = place.len;
	move.hash = hash64(body + FORMAT_BLOCK_SUM, place.len, 0);
	assert_int_equal(log_append(&delta->log, &request), 0);
	assert_int_equal(delta_close(delta), 0);
}

static void hold_open(void)
{
	held = onestore_delta();
}

static void miscount(void)
{
	problems_miscounted = true;
}

/* ---- all of them ---- */

static const struct problem_case cases[] = {
	{.code = PROBLEM_LABEL, .provoke = damage_label},
	{.code = PROBLEM_PART, .provoke = remove_part},
	{.code = PROBLEM_TEMP, .provoke = leave_temp},
	{.code = PROBLEM_TRASH, .provoke = leave_trash},
	{.code = PROBLEM_STAGE, .provoke = leave_stage},
	{.code = PROBLEM_MANIFEST, .provoke = damage_manifest, .moves = true},
	{.code = PROBLEM_STRAY, .provoke = leave_strays},
	{.code = PROBLEM_BASE, .provoke = lose_base},
	{.code = PROBLEM_NODE, .provoke = two_with_one_node},
	{.code = PROBLEM_LAYER_UNUSED, .provoke = leave_layer},
	{.code = PROBLEM_SUPER_COPY, .provoke = damage_super_copy},
	{.code = PROBLEM_SUPER, .provoke = damage_supers},
	{.code = PROBLEM_LOG_MISSING, .provoke = lose_log},
	{.code = PROBLEM_SIZE, .provoke = promise_more},
	{.code = PROBLEM_CHECKPOINT, .provoke = damage_checkpoint, .checkpoint = true},
	{.code = PROBLEM_CHECKPOINT_WRONG, .provoke = write_wrong_checkpoint, .full = true},
	{.code = PROBLEM_PAYLOAD, .provoke = damage_payload, .checkpoint = true,
		.full = true},
	{.code = PROBLEM_HISTORY, .provoke = damage_first_record, .checkpoint = true, .full = true},
	{.code = PROBLEM_LOG_CUT, .provoke = damage_first_record,
		.behind = PROBLEM_BIT(PROBLEM_LOG_LOST)},
	{.code = PROBLEM_LOG_LOST, .provoke = damage_first_record, .refused = PROBLEM_BIT(PROBLEM_LOG_CUT)},
	{.code = PROBLEM_ORDER, .provoke = append_older_version, .full = true},
	{.code = PROBLEM_BUSY, .provoke = hold_open, .repairing = true},
	{.code = PROBLEM_READ, .provoke = make_manifest_newer},
	{.code = PROBLEM_ACCOUNT, .provoke = miscount, .full = true},
};

const struct problem_case *problems_case(enum problem_code code)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (cases[i].code == code)
			return &cases[i];
	fail_msg("problem %d has no case", (int)code);
	return NULL;
}

void problems_provoke(const struct problem_case *c)
{
	onestore_make(CLEAN, c->checkpoint);
	if (!c->checkpoint && onestore_has("ckpt"))
		onestore_unlink("ckpt");
	onestore.refused = c->refused;
	c->provoke();
}

void problems_undo(void)
{
	if (held)
		assert_int_equal(delta_close(held), 0);
	held = NULL;
	problems_miscounted = false;
	onestore.refused = 0;
	onestore.clone = NULL;
}
