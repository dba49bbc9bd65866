/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The door of one delta: create, open, close, map, grow. See delta.h.
 *
 * What may be lost: creating writes nothing that anybody refers to yet;
 * opening only adds (a sync, a segment header, a super block, in that order);
 * closing marks clean only after a flush that succeeded.
 */
#include "fs/store/delta.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/handle.h"
#include "fs/store/record.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

#define FILE_MODE 0600
#define NAME_TEXT (ID_TEXT + 8)

static void super_name(const char *name, char text[static NAME_TEXT])
{
	snprintf(text, NAME_TEXT, "%.32s.super", name);
}

static void log_name(const char *name, char text[static NAME_TEXT])
{
	snprintf(text, NAME_TEXT, "%.32s.log", name);
}

static int create_super(const struct io_gate *io, int dirfd, const char *name, uint64_t size_bytes)
{
	char file[NAME_TEXT];
	struct id id;
	int fd, rc = id_parse(name, &id);

	if (rc < 0)
		return rc;
	super_name(name, file);
	fd = io->openat(io, dirfd, file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, FILE_MODE);
	if (fd < 0)
		return fd;
	rc = super_create(io, fd, &id, size_bytes);
	io->close(io, fd);
	return rc;
}

/* Empty: its name becomes durable with the directory, its content by flushes. */
static int create_log(const struct io_gate *io, int dirfd, const char *name)
{
	char file[NAME_TEXT];
	int fd;

	log_name(name, file);
	fd = io->openat(io, dirfd, file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, FILE_MODE);
	return fd < 0 ? fd : io->close(io, fd);
}

int delta_create(const struct io_gate *io, int dirfd, const char *name, uint64_t size_bytes,
	struct err *err)
{
	int rc;

	if (!io)
		io = &io_kernel;
	rc = create_super(io, dirfd, name, size_bytes);
	if (rc == 0)
		rc = create_log(io, dirfd, name);
	return rc < 0 ? err_sys(err, rc, "cannot create delta %s", name) : 0;
}

int delta_remove(const struct io_gate *io, int dirfd, const char *name)
{
	char file[NAME_TEXT];
	int rc, super_rc;

	if (!io)
		io = &io_kernel;
	log_name(name, file);
	rc = io->unlinkat(io, dirfd, file, 0);
	super_name(name, file);
	super_rc = io->unlinkat(io, dirfd, file, 0);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	return super_rc == -ENOENT ? 0 : super_rc;
}

static int open_super(struct log *log, int dirfd, const char *name, struct err *err)
{
	char file[NAME_TEXT];
	struct id id;
	int rc;

	super_name(name, file);
	log->super_fd = log->io->openat(log->io, dirfd, file, O_RDWR | O_NOFOLLOW, 0);
	if (log->super_fd == -ENOENT)
		return err_set(err, -EUCLEAN, "%s is missing", file);
	if (log->super_fd < 0)
		return err_sys(err, log->super_fd, "cannot open %s", file);
	rc = io_lock(log->super_fd, true, 0, 1);
	if (rc == -EAGAIN)
		return err_set(err, -EBUSY, "another process has it open");
	if (rc < 0)
		return err_sys(err, -EOPNOTSUPP, "the file system has no file locks (%s)",
			strerror(-rc));
	rc = super_read(log->io, log->super_fd, &log->super, err);
	if (rc == -EOPNOTSUPP) {
		err_hint(err, "a newer lazyclone made this; update this one");
		return -EUCLEAN;
	}
	if (rc == 0 && (id_parse(name, &id) < 0 || !id_equal(&id, &log->super.id)))
		rc = err_set(err, -EUCLEAN, "%s belongs to another delta", file);
	memcpy(log->key, log->super.key, sizeof(log->key));
	return rc;
}

/* An unclean disk of another host may still be in use there. */
static int check_host(struct log *log, bool force_takeover, struct err *err)
{
	static const struct id nobody;
	struct id host, boot;

	super_self(&host, &boot);
	if (log->super.clean || force_takeover || id_equal(&log->super.host, &nobody) ||
		id_equal(&log->super.host, &host))
		return 0;
	err_set(err, -EBUSY, "another host had it open and did not close it");
	err_hint(err, "stop lazyclone there; if that host is gone for good, take it over by force");
	return -EBUSY;
}

static int open_log(struct log *log, int dirfd, const char *name, struct err *err)
{
	char file[NAME_TEXT];

	log_name(name, file);
	log->log_fd = log->io->openat(log->io, dirfd, file, O_RDWR | O_NOFOLLOW, 0);
	if (log->log_fd == -ENOENT)
		return err_set(err, -EUCLEAN, "%s is missing", file);
	return log->log_fd < 0 ? err_sys(err, log->log_fd, "cannot open %s", file) : 0;
}

/* After an unclean end the place where the log was accepted to end becomes
 * durable before anything is served. Without space for that, reads go on:
 * what replay accepted lies on the medium and will be accepted again. */
static int settle_end(struct log *log, bool clean, struct err *err)
{
	int rc = clean ? 0 : log_start_life(log);

	if (rc < 0 && rc != -ENOSPC)
		return err_sys(err, rc, "cannot start a new segment");
	return 0;
}

static int open_files(struct delta *delta, int dirfd, const char *name,
	const struct delta_options *options, struct err *err)
{
	struct log *log = &delta->log;
	char file[NAME_TEXT];
	bool clean = false;
	int rc = open_super(log, dirfd, name, err);

	if (rc == 0)
		rc = check_host(log, options && options->force_takeover, err);
	if (rc == 0)
		rc = open_log(log, dirfd, name, err);
	log_name(name, file);
	if (rc == 0)
		rc = log_replay(log, dirfd, file, &clean, err);
	if (rc == 0)
		rc = settle_end(log, clean, err);
	atomic_store(&delta->size_bytes, log->super.size_bytes);
	return rc;
}

static int delta_init(struct delta *delta, const struct delta_options *options)
{
	struct log *log = &delta->log;

	log->io = options && options->io ? options->io : &io_kernel;
	log->super_fd = log->log_fd = -1;
	log->epoch = random_u64();
	log->queue_end = &log->queue;
	log->heads = malloc(LOG_BATCH_RECORDS * RECORD_HEAD_MAX);
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->wake, NULL);
	index_init(&log->index);
	return log->heads ? 0 : -ENOMEM;
}

void delta_abandon(struct delta *delta)
{
	struct log *log = &delta->log;

	if (log->log_fd >= 0)
		log->io->close(log->io, log->log_fd);
	if (log->super_fd >= 0)
		log->io->close(log->io, log->super_fd);
	index_release(&log->index);
	segment_table_release(&log->segments);
	pthread_cond_destroy(&log->wake);
	pthread_mutex_destroy(&log->lock);
	free(log->heads);
	free(delta);
}

int delta_open(int dirfd, const char *name, const struct delta_options *options,
	struct delta **ret_delta, struct err *err)
{
	struct delta *delta = calloc(1, sizeof(*delta));
	int rc;

	if (!delta)
		return err_sys(err, -ENOMEM, "cannot open delta %s", name);
	rc = delta_init(delta, options);
	if (rc < 0)
		err_sys(err, rc, "cannot open");
	else
		rc = open_files(delta, dirfd, name, options, err);
	if (rc < 0) {
		err_prefix(err, "delta %s", name);
		delta_abandon(delta);
		return rc;
	}
	*ret_delta = delta;
	return 0;
}

int delta_close(struct delta *delta)
{
	int rc;

	if (!delta)
		return 0;
	rc = log_flush(&delta->log);
	if (rc == 0)
		rc = log_end_life(&delta->log);
	delta_abandon(delta);
	return rc;
}

uint64_t delta_size(const struct delta *delta)
{
	return atomic_load(&delta->size_bytes);
}

enum delta_owner delta_map(struct delta *delta, uint64_t block, uint64_t count, uint64_t *ret_run)
{
	return index_get(&delta->log.index, block, count, ret_run, NULL);
}

int delta_flush(struct delta *delta)
{
	return log_flush(&delta->log);
}

bool delta_unsynced(struct delta *delta)
{
	SCOPED_LOCK(&delta->log.lock);

	return delta->log.durable_lsn < delta->log.appended_lsn;
}

int delta_grow(struct delta *delta, uint64_t size_bytes)
{
	struct log *log = &delta->log;
	int rc = 0;

	if (size_bytes > DELTA_SIZE_MAX || size_bytes % 512 != 0)
		return -EINVAL;
	log_take_lead(log);
	if (size_bytes < log->super.size_bytes) {
		rc = -EINVAL;
	} else if (size_bytes > log->super.size_bytes) {
		struct super next = log->super;

		next.size_bytes = size_bytes;
		rc = log_put_super(log, &next);
		if (rc == 0)
			atomic_store(&delta->size_bytes, size_bytes);
	}
	log_give_lead(log);
	return rc;
}

void delta_stats(struct delta *delta, struct delta_stats *ret_stats)
{
	struct log *log = &delta->log;
	struct stat st;

	memset(ret_stats, 0, sizeof(*ret_stats));
	index_stats(&log->index, ret_stats);
	if (fstat(log->log_fd, &st) == 0)
		ret_stats->log_bytes = (uint64_t)st.st_blocks * 512;
	SCOPED_LOCK(&log->lock);
	ret_stats->last_write_sec = log->written_sec;
}
