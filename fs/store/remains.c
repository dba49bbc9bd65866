/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keeping and letting go of files without a name: see remains.h. */
#include "fs/store/remains.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fs/util/cleanup.h"

struct remains {
	pthread_mutex_t lock; /* a leaf; all below */
	pthread_cond_t gone;  /* letting became 0 */
	unsigned int count;
	unsigned int letting; /* threads that close some */
	struct remain {
		const struct io_gate *io;
		int fd;
	} file[REMAINS_MAX];
};

struct remains *remains_new(void)
{
	struct remains *remains = calloc(1, sizeof(*remains));

	if (!remains)
		return NULL;
	pthread_mutex_init(&remains->lock, NULL);
	pthread_cond_init(&remains->gone, NULL);
	return remains;
}

void remains_free(struct remains *remains)
{
	if (!remains)
		return;
	remains_let_go(remains);
	pthread_cond_destroy(&remains->gone);
	pthread_mutex_destroy(&remains->lock);
	free(remains);
}

/* A descriptor of the file, if that name is its last and it is large; or -1. */
static int open_large(const struct io_gate *io, int dirfd, const char *name)
{
	int fd = io->openat(io, dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
		(uint64_t)st.st_blocks * 512 >= REMAINS_LEAST_BYTES)
		return fd;
	io->close(io, fd);
	return -1;
}

/* False: there are too many. */
static bool keep(struct remains *remains, const struct io_gate *io, int fd)
{
	SCOPED_LOCK(&remains->lock);

	if (remains->count == REMAINS_MAX)
		return false;
	remains->file[remains->count++] = (struct remain){.io = io, .fd = fd};
	return true;
}

int remains_unlink(struct remains *remains, const struct io_gate *io, int dirfd, const char *name)
{
	int fd = remains ? open_large(io, dirfd, name) : -1;
	int rc = io->unlinkat(io, dirfd, name, 0);

	if (fd >= 0 && (rc < 0 || !keep(remains, io, fd)))
		io->close(io, fd);
	return rc;
}

static bool take_one(struct remains *remains, struct remain *ret_file)
{
	SCOPED_LOCK(&remains->lock);

	if (remains->count == 0)
		return false;
	*ret_file = remains->file[--remains->count];
	remains->letting++;
	return true;
}

static void end_one(struct remains *remains)
{
	SCOPED_LOCK(&remains->lock);

	if (--remains->letting == 0)
		pthread_cond_broadcast(&remains->gone);
}

/* What others are letting go of, waited for. True: there was something. */
static bool wait_for_others(struct remains *remains)
{
	SCOPED_LOCK(&remains->lock);

	if (remains->letting == 0)
		return false;
	while (remains->letting > 0)
		pthread_cond_wait(&remains->gone, &remains->lock);
	return true;
}

bool remains_let_go(struct remains *remains)
{
	struct remain file;
	bool any = false;

	while (take_one(remains, &file)) {
		file.io->close(file.io, file.fd);
		end_one(remains);
		any = true;
	}
	return wait_for_others(remains) || any;
}
