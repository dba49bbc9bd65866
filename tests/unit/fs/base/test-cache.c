/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cache of pieces: bounded, one fetch for many, failures not kept. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/cache.h"
#include "tests/lib/rng.h"

#define PIECE 4096u
#define KIND CACHE_TABLES

/* What fetches do, and how many there were. */
static struct {
	_Atomic uint64_t fetches;
	_Atomic int result;
	_Atomic bool cold;  /* nothing without waiting */
	_Atomic bool held;  /* fetches stop here until they are let go */
	sem_t begun, go;
} file;

static int fetch(void *with, void *buf, size_t len, uint64_t off, bool nowait)
{
	if (nowait && atomic_load(&file.cold))
		return -EAGAIN;
	atomic_fetch_add(&file.fetches, 1);
	if (atomic_load(&file.held)) {
		sem_post(&file.begun);
		sem_wait(&file.go);
	}
	for (size_t i = 0; i < len; i += sizeof(off))
		memcpy((uint8_t *)buf + i, &off, sizeof(off));
	return atomic_load(&file.result);
}

static int get(uint64_t owner, uint64_t off, bool nowait)
{
	struct cache_key key = {owner, off};
	struct blob *blob;
	uint64_t says;
	int rc = cache_get(KIND, key, PIECE, nowait, fetch, NULL, &blob);

	if (rc < 0)
		return rc;
	memcpy(&says, (const uint8_t *)blob_bytes(blob) + PIECE - sizeof(says), sizeof(says));
	blob_put(blob);
	return says == off ? 0 : -EILSEQ;
}

static bool kept(uint64_t owner, uint64_t off)
{
	struct cache_key key = {owner, off};
	struct blob *blob = cache_peek(KIND, key);

	blob_put(blob);
	return blob;
}

static int set_up(void **state)
{
	file.fetches = 0;
	file.result = 0;
	file.cold = false;
	file.held = false;
	sem_init(&file.begun, 0, 0);
	sem_init(&file.go, 0, 0);
	return 0;
}

static void test_hit(void **state)
{
	uint64_t owner = cache_owner();

	assert_false(kept(owner, 0));
	assert_int_equal(get(owner, 0, false), 0);
	assert_int_equal(get(owner, 0, false), 0);
	assert_int_equal(get(owner, 0, true), 0);
	assert_true(kept(owner, 0));
	assert_int_equal(file.fetches, 1);
	assert_int_equal(get(owner, PIECE, false), 0);
	assert_int_equal(file.fetches, 2);
	assert_int_equal(cache_bytes(KIND), 2 * PIECE);
	cache_forget(owner);
	assert_int_equal(cache_bytes(KIND), 0);
	assert_false(kept(owner, 0));
}

static void test_owners(void **state)
{
	uint64_t a = cache_owner();
	uint64_t b = cache_owner();

	assert_int_not_equal(a, b);
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(get(a, i * PIECE, false), 0);
		assert_int_equal(get(b, i * PIECE, false), 0);
	}
	assert_int_equal(file.fetches, 200);
	cache_forget(a);
	for (uint64_t i = 0; i < 100; i++) {
		assert_false(kept(a, i * PIECE));
		assert_true(kept(b, i * PIECE));
	}
	cache_forget(b);
	assert_int_equal(cache_bytes(KIND), 0);
}

static void test_failure(void **state)
{
	uint64_t owner = cache_owner();

	file.result = -EIO;
	assert_int_equal(get(owner, 0, false), -EIO);
	assert_int_equal(get(owner, 0, true), -EIO);
	assert_int_equal(cache_bytes(KIND), 0);
	file.result = 0;
	assert_int_equal(get(owner, 0, false), 0);
	assert_int_equal(file.fetches, 3);
	cache_forget(owner);
}

static void test_nowait(void **state)
{
	uint64_t owner = cache_owner();

	file.cold = true;
	assert_int_equal(get(owner, 0, true), -EAGAIN);
	assert_int_equal(file.fetches, 0);
	file.cold = false;
	assert_int_equal(get(owner, 0, true), 0);
	assert_int_equal(get(owner, 0, false), 0);
	assert_int_equal(file.fetches, 1);
	cache_forget(owner);
}

/* Never above the limit; what is used again stays. */
static void test_bounded(void **state)
{
	const uint64_t pieces = CACHE_TABLES_MAX / PIECE;
	uint64_t owner = cache_owner();

	for (uint64_t i = 0; i < 3 * pieces; i++) {
		assert_int_equal(get(owner, i * PIECE, false), 0);
		assert_int_equal(get(owner, 0, false), 0);
		assert_true(cache_bytes(KIND) <= CACHE_TABLES_MAX);
	}
	assert_int_equal(file.fetches, 3 * pieces);
	assert_true(kept(owner, 0));
	assert_int_equal(cache_bytes(KIND), CACHE_TABLES_MAX);
	cache_forget(owner);
	assert_int_equal(cache_bytes(KIND), 0);
}

/* A piece that somebody holds outlives its place in the cache. */
static void test_held_piece(void **state)
{
	uint64_t owner = cache_owner();
	struct cache_key key = {owner, 7 * PIECE};
	struct blob *blob;
	uint64_t says;

	assert_int_equal(cache_get(KIND, key, PIECE, false, fetch, NULL, &blob), 0);
	cache_forget(owner);
	assert_int_equal(cache_bytes(KIND), 0);
	memcpy(&says, blob_bytes(blob), sizeof(says));
	assert_int_equal(says, key.off);
	blob_put(blob);
	blob_put(NULL);
}

struct asker {
	pthread_t thread;
	uint64_t owner;
	int rc;
};

static void *ask(void *arg)
{
	struct asker *asker = arg;

	asker->rc = get(asker->owner, 0, false);
	return NULL;
}

/* Many ask while the first one's fetch is under way. */
static void share_fetch(int result)
{
	struct asker askers[8];
	uint64_t owner = cache_owner();

	file.held = true;
	file.result = result;
	for (int i = 0; i < 8; i++) {
		askers[i].owner = owner;
		assert_int_equal(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
		if (i == 0)
			sem_wait(&file.begun);
	}
	/* Somebody who must not wait is told so. */
	assert_int_equal(get(owner, 0, true), -EAGAIN);
	assert_false(kept(owner, 0));
	/* Those who come late enough to miss the failure fetch again. */
	file.held = false;
	sem_post(&file.go);
	for (int i = 0; i < 8; i++) {
		pthread_join(askers[i].thread, NULL);
		assert_int_equal(askers[i].rc, result);
	}
	if (result == 0)
		assert_int_equal(file.fetches, 1);
	assert_int_equal(kept(owner, 0), result == 0);
	cache_forget(owner);
}

static void test_one_fetch(void **state)
{
	share_fetch(0);
}

static void test_shared_failure(void **state)
{
	share_fetch(-EIO);
}

/* Everything at once, on few pieces and on more than fit. */
struct worker {
	pthread_t thread;
	uint64_t rng;
	uint64_t owner;
	uint64_t pieces;
	bool bad;
};

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (int i = 0; i < 20000; i++) {
		uint64_t off = rng_below(&worker->rng, worker->pieces) * PIECE;
		int rc = get(worker->owner, off, rng_below(&worker->rng, 2));

		worker->bad |= rc != 0 && rc != -EAGAIN;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct worker workers[6];

	for (int i = 0; i < 6; i++) {
		workers[i] = (struct worker){.rng = (uint64_t)i,
			.owner = i % 2 ? workers[i - 1].owner : cache_owner(),
			.pieces = i < 4 ? 64 : 2 * (CACHE_TABLES_MAX / PIECE)};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < 6; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_false(workers[i].bad);
	}
	assert_true(cache_bytes(KIND) <= CACHE_TABLES_MAX);
	for (int i = 0; i < 6; i++)
		cache_forget(workers[i].owner);
	assert_int_equal(cache_bytes(KIND), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_hit, set_up),
		cmocka_unit_test_setup(test_owners, set_up),
		cmocka_unit_test_setup(test_failure, set_up),
		cmocka_unit_test_setup(test_nowait, set_up),
		cmocka_unit_test_setup(test_bounded, set_up),
		cmocka_unit_test_setup(test_held_piece, set_up),
		cmocka_unit_test_setup(test_one_fetch, set_up),
		cmocka_unit_test_setup(test_shared_failure, set_up),
		cmocka_unit_test_setup(test_threads, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
