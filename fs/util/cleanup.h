/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scope cleanup for memory, file descriptors and locks.
 *
 * A variable declared with AUTO_FREE, AUTO_CLOSE or another AUTO_x must be
 * initialised where it is declared. Ownership leaves the scope by steal_ptr()
 * or steal_fd(). A lock is held "for the current scope" by SCOPED_LOCK(), so a
 * critical section is a pair of braces.
 */
#ifndef FS_UTIL_CLEANUP_H
#define FS_UTIL_CLEANUP_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* Close *fd if it is open, keep errno, leave -1 behind. */
static inline void close_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline int steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define steal_ptr(p)                                                                               \
	({                                                                                         \
		__typeof__(*(p)) taken_ = *(p);                                                    \
		*(p) = NULL;                                                                       \
		taken_;                                                                            \
	})

static inline void cleanup_unlock(pthread_mutex_t **lock)
{
	if (*lock)
		pthread_mutex_unlock(*lock);
}

static inline pthread_mutex_t *lock_for_scope(pthread_mutex_t *lock)
{
	pthread_mutex_lock(lock);
	return lock;
}

#define AUTO(fn) __attribute__((cleanup(fn)))
#define AUTO_FREE AUTO(cleanup_free)
#define AUTO_CLOSE AUTO(close_fd)

#define SCOPED_PASTE_(a, b) a##b
#define SCOPED_NAME_(line) SCOPED_PASTE_(scoped_lock_, line)
#define SCOPED_LOCK(lock)                                                                          \
	AUTO(cleanup_unlock)                                                                       \
	__attribute__((unused)) pthread_mutex_t *SCOPED_NAME_(__LINE__) = lock_for_scope(lock)

#endif
