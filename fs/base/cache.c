/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bounded, process-wide cache of pieces of images: see cache.h.
 *
 * The pieces of a kind are spread over shards by their key, each with a lock
 * that is held for a look into a hash chain and never for a fetch. A piece:
 *
 *	state      in the chain  in the queue  leaves to
 *	FETCHING   yes           no            READY, FAILED
 *	READY      yes           yes           - (dropped: in neither)
 *	FAILED     no            no            -
 *
 * It counts who holds it; the chain is one of them.
 */
#include "fs/base/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "fs/util/cleanup.h"

#define SHARDS 64
#define CHAINS 256

enum blob_state { BLOB_FETCHING, BLOB_READY, BLOB_FAILED };

struct blob {
	struct cache_key key;      /* constant */
	size_t len;                /* constant */
	_Atomic uint32_t holders;
	_Atomic bool used;         /* since it was last its turn to go */
	enum blob_state state;     /* under the shard's lock */
	int error;                 /* constant once FAILED */
	struct blob *next;         /* in the chain; under the shard's lock */
	TAILQ_ENTRY(blob) turn;    /* in the queue; under the shard's lock */
	_Alignas(64) uint8_t bytes[]; /* constant once READY */
};

TAILQ_HEAD(queue, blob);

/* On cache lines of its own. */
struct shard {
	_Alignas(64) pthread_mutex_t lock;
	pthread_cond_t fetched; /* some piece of this shard left FETCHING */
	struct queue queue;     /* oldest first */
	struct blob *chain[CHAINS];
};

struct cache {
	uint64_t max_bytes; /* constant */
	_Atomic uint64_t bytes;
	_Atomic uint32_t hand; /* the shard whose turn it is to drop something */
	struct shard shard[SHARDS];
};

static struct cache caches[N_CACHE_KINDS] = {
	[CACHE_TABLES] = {.max_bytes = CACHE_TABLES_MAX},
	[CACHE_CLUSTERS] = {.max_bytes = CACHE_CLUSTERS_MAX},
};
static pthread_once_t caches_made = PTHREAD_ONCE_INIT;
static _Atomic uint64_t owners;

static void make_caches(void)
{
	for (int kind = 0; kind < N_CACHE_KINDS; kind++) {
		for (int i = 0; i < SHARDS; i++) {
			struct shard *shard = &caches[kind].shard[i];

			pthread_mutex_init(&shard->lock, NULL);
			pthread_cond_init(&shard->fetched, NULL);
			TAILQ_INIT(&shard->queue);
		}
	}
}

/* Owners come here before anything else does. */
uint64_t cache_owner(void)
{
	pthread_once(&caches_made, make_caches);
	return atomic_fetch_add_explicit(&owners, 1, memory_order_relaxed) + 1;
}

/* Offsets are multiples of large powers of two: the multiplication carries
 * them into the upper half, of which shard and chain are taken. */
static uint32_t hash(struct cache_key key)
{
	uint64_t h = (key.off ^ (key.owner << 48)) * UINT64_C(0x9e3779b97f4a7c15);

	h ^= h >> 29;
	return (uint32_t)((h * UINT64_C(0xbf58476d1ce4e5b9)) >> 32);
}

static struct shard *shard_of(struct cache *cache, struct cache_key key)
{
	return &cache->shard[hash(key) % SHARDS];
}

static struct blob **chain_of(struct shard *shard, struct cache_key key)
{
	return &shard->chain[hash(key) / SHARDS % CHAINS];
}

static bool same_key(struct cache_key a, struct cache_key b)
{
	return a.off == b.off && a.owner == b.owner;
}

const void *blob_bytes(const struct blob *blob)
{
	return blob->bytes;
}

void blob_put(struct blob *blob)
{
	if (blob && atomic_fetch_sub_explicit(&blob->holders, 1, memory_order_acq_rel) == 1)
		free(blob);
}

static struct blob *blob_new(struct cache_key key, size_t len)
{
	struct blob *blob = aligned_alloc(_Alignof(struct blob),
		(sizeof(*blob) + len + _Alignof(struct blob) - 1) & ~(_Alignof(struct blob) - 1));

	if (!blob)
		return NULL;
	*blob = (struct blob){.key = key, .len = len, .holders = 1, .state = BLOB_FETCHING};
	return blob;
}

static struct blob *find_locked(struct shard *shard, struct cache_key key)
{
	struct blob *blob = *chain_of(shard, key);

	while (blob && !same_key(blob->key, key))
		blob = blob->next;
	if (blob)
		atomic_fetch_add_explicit(&blob->holders, 1, memory_order_relaxed);
	return blob;
}

static void add_locked(struct cache *cache, struct shard *shard, struct blob *blob)
{
	struct blob **chain = chain_of(shard, blob->key);

	atomic_fetch_add_explicit(&blob->holders, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&cache->bytes, blob->len, memory_order_relaxed);
	blob->next = *chain;
	*chain = blob;
}

/* The chain's hold goes over to the caller. */
static struct blob *take_out_locked(struct cache *cache, struct shard *shard, struct blob *blob)
{
	struct blob **at = chain_of(shard, blob->key);

	while (*at != blob)
		at = &(*at)->next;
	*at = blob->next;
	if (blob->state == BLOB_READY)
		TAILQ_REMOVE(&shard->queue, blob, turn);
	atomic_fetch_sub_explicit(&cache->bytes, blob->len, memory_order_relaxed);
	return blob;
}

static void ready_locked(struct shard *shard, struct blob *blob)
{
	blob->state = BLOB_READY;
	TAILQ_INSERT_TAIL(&shard->queue, blob, turn);
}

/* The oldest that was not used since its last turn. */
static struct blob *take_oldest(struct cache *cache, struct shard *shard)
{
	struct blob *blob;

	SCOPED_LOCK(&shard->lock);
	while ((blob = TAILQ_FIRST(&shard->queue))) {
		if (!atomic_exchange_explicit(&blob->used, false, memory_order_relaxed))
			return take_out_locked(cache, shard, blob);
		TAILQ_REMOVE(&shard->queue, blob, turn);
		TAILQ_INSERT_TAIL(&shard->queue, blob, turn);
	}
	return NULL;
}

/* Shards take turns. Twice around, each is empty but for what is being fetched. */
static void shrink(struct cache *cache)
{
	for (int empty = 0; empty < SHARDS;) {
		struct blob *blob;

		if (atomic_load_explicit(&cache->bytes, memory_order_relaxed) <= cache->max_bytes)
			return;
		blob = take_oldest(cache, &cache->shard[atomic_fetch_add(&cache->hand, 1) % SHARDS]);
		empty = blob ? 0 : empty + 1;
		blob_put(blob);
	}
}

static void mark_used(struct blob *blob)
{
	/* Looked at first: a write would take the line from other readers. */
	if (!atomic_load_explicit(&blob->used, memory_order_relaxed))
		atomic_store_explicit(&blob->used, true, memory_order_relaxed);
}

/* A held piece that somebody may still be fetching. */
static int wait_ready_locked(struct shard *shard, struct blob *blob, bool nowait)
{
	if (blob->state == BLOB_FETCHING && nowait)
		return -EAGAIN;
	while (blob->state == BLOB_FETCHING)
		pthread_cond_wait(&shard->fetched, &shard->lock);
	return blob->state == BLOB_READY ? 0 : blob->error;
}

/* True: found, and *ret_rc is 0 or why it cannot be used. False: it was not
 * there; fresh, if any, is now. */
static bool look(struct cache *cache, struct cache_key key, bool nowait, struct blob *fresh,
	struct blob **ret_blob, int *ret_rc)
{
	struct shard *shard = shard_of(cache, key);
	struct blob *blob;

	SCOPED_LOCK(&shard->lock);
	blob = find_locked(shard, key);
	if (!blob && fresh)
		add_locked(cache, shard, fresh);
	if (!blob)
		return false;
	*ret_rc = wait_ready_locked(shard, blob, nowait);
	*ret_blob = blob;
	return true;
}

static int found(struct blob *blob, int rc, struct blob **ret_blob)
{
	if (rc < 0) {
		blob_put(blob);
		return rc;
	}
	mark_used(blob);
	*ret_blob = blob;
	return 0;
}

/* The fetch is over; wake who waits for it. */
static void settle(struct cache *cache, struct blob *blob, int rc)
{
	struct shard *shard = shard_of(cache, blob->key);
	struct blob *failed = NULL;

	{
		SCOPED_LOCK(&shard->lock);
		if (rc == 0) {
			ready_locked(shard, blob);
		} else {
			failed = take_out_locked(cache, shard, blob);
			blob->error = rc;
			blob->state = BLOB_FAILED;
		}
		pthread_cond_broadcast(&shard->fetched);
	}
	blob_put(failed);
}

/* Fetch for all who ask meanwhile. */
static int fetch_shared(struct cache *cache, struct blob *fresh, cache_fetch *fetch, void *with,
	struct blob **ret_blob)
{
	struct blob *blob;
	int rc;

	if (look(cache, fresh->key, false, fresh, &blob, &rc)) {
		blob_put(fresh);
		return found(blob, rc, ret_blob);
	}
	shrink(cache);
	rc = fetch(with, fresh->bytes, fresh->len, fresh->key.off, false);
	settle(cache, fresh, rc);
	if (rc < 0)
		blob_put(fresh);
	else
		*ret_blob = fresh;
	return rc;
}

/* Fetch without being waited for: what others could wait for must not end in
 * -EAGAIN. Whoever comes second finds the first one's. */
static int fetch_alone(struct cache *cache, struct blob *fresh, cache_fetch *fetch, void *with,
	struct blob **ret_blob)
{
	struct shard *shard = shard_of(cache, fresh->key);
	struct blob *blob;
	int rc = fetch(with, fresh->bytes, fresh->len, fresh->key.off, true);

	if (rc < 0) {
		blob_put(fresh);
		return rc;
	}
	*ret_blob = fresh;
	{
		SCOPED_LOCK(&shard->lock);
		blob = find_locked(shard, fresh->key);
		if (!blob) {
			add_locked(cache, shard, fresh);
			ready_locked(shard, fresh);
		}
	}
	blob_put(blob);
	shrink(cache);
	return 0;
}

int cache_get(enum cache_kind kind, struct cache_key key, size_t len, bool nowait,
	cache_fetch *fetch, void *with, struct blob **ret_blob)
{
	struct cache *cache = &caches[kind];
	struct blob *blob;
	int rc;

	if (look(cache, key, nowait, NULL, &blob, &rc))
		return found(blob, rc, ret_blob);
	blob = blob_new(key, len);
	if (!blob)
		return -ENOMEM;
	if (nowait)
		return fetch_alone(cache, blob, fetch, with, ret_blob);
	return fetch_shared(cache, blob, fetch, with, ret_blob);
}

struct blob *cache_peek(enum cache_kind kind, struct cache_key key)
{
	struct blob *blob;
	int rc;

	if (!look(&caches[kind], key, true, NULL, &blob, &rc))
		return NULL;
	return found(blob, rc, &blob) < 0 ? NULL : blob;
}

/* All of one shard, chained by next. */
static struct blob *take_owned(struct cache *cache, struct shard *shard, uint64_t owner)
{
	struct blob *taken = NULL;
	struct blob *after;

	SCOPED_LOCK(&shard->lock);
	for (struct blob *blob = TAILQ_FIRST(&shard->queue); blob; blob = after) {
		after = TAILQ_NEXT(blob, turn);
		if (blob->key.owner != owner)
			continue;
		take_out_locked(cache, shard, blob);
		blob->next = taken;
		taken = blob;
	}
	return taken;
}

static void forget_in(struct cache *cache, uint64_t owner)
{
	for (int i = 0; i < SHARDS; i++) {
		struct blob *blob = take_owned(cache, &cache->shard[i], owner);

		while (blob) {
			struct blob *next = blob->next;

			blob_put(blob);
			blob = next;
		}
	}
}

void cache_forget(uint64_t owner)
{
	for (int kind = 0; kind < N_CACHE_KINDS; kind++)
		forget_in(&caches[kind], owner);
}

uint64_t cache_bytes(enum cache_kind kind)
{
	return atomic_load_explicit(&caches[kind].bytes, memory_order_relaxed);
}
