/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Per-thread working memory: see scratch.h. */
#include "fs/store/scratch.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int key_rc;

static void make_key(void)
{
	key_rc = pthread_key_create(&key, free);
}

/* The main thread runs no key destructors when it returns from main. */
__attribute__((destructor)) static void free_last(void)
{
	pthread_once(&once, make_key);
	if (key_rc == 0)
		free(pthread_getspecific(key));
}

struct scratch *scratch_get(void)
{
	struct scratch *scratch;

	pthread_once(&once, make_key);
	if (key_rc)
		return NULL;
	scratch = pthread_getspecific(key);
	if (scratch)
		return scratch;
	scratch = malloc(sizeof(*scratch));
	if (scratch && pthread_setspecific(key, scratch)) {
		free(scratch);
		return NULL;
	}
	return scratch;
}
