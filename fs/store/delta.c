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

#include "fs/store/checkpoint.h"
#include "fs/store/handle.h"
#include "fs/store/record.h"
#include "fs/store/recycle.h"
#include "fs/store/remains.h"
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

int delta_remove(const struct io_gate *io, int dirfd, const char *name, struct remains *remains)
{
	char file[NAME_TEXT];
	int rc, super_rc;

	if (!io)
		io = &io_kernel;
	super_rc = checkpoint_remove(io, dirfd, name);
	if (super_rc < 0)
		return super_rc;
	log_name(name, file);
	rc = remains_unlink(remains, io, dirfd, file);
	super_name(name, file);
	super_rc = io->unlinkat(io, dirfd, file, 0);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	return super_rc == -ENOENT ? 0 : super_rc;
}

static int lock_super(struct log *log, bool exclusive, struct err *err)
{
	int rc = io_lock(log->super_fd, exclusive, 0, 1);

	if (rc == -EAGAIN)
		return err_set(err, -EBUSY, "another process has it open");
	if (rc < 0)
		return err_sys(err, -EOPNOTSUPP, "the file system has no file locks (%s)",
			strerror(-rc));
	return 0;
}

static int read_super(struct log *log, const char *file, struct err *err)
{
	struct id id;
	int rc = super_read(log->io, log->super_fd, &log->super, &log->super_whole, err);

	if (rc == -EOPNOTSUPP)
		return -EUCLEAN;
	if (rc == 0 && (id_parse(log->name, &id) < 0 || !id_equal(&id, &log->super.id)))
		rc = err_set(err, -EUCLEAN, "%s belongs to another delta", file);
	return rc;
}

/* Locked before it is read: a layer by all who read it, a delta by one. What is
 * to be opened as a layer and is not frozen yet has one owner until it is. */
static int open_super(struct log *log, bool layer, struct err *err)
{
	char file[NAME_TEXT];
	int rc;

	super_name(log->name, file);
	log->super_fd = log->io->openat(log->io, log->dirfd, file, O_RDWR | O_NOFOLLOW, 0);
	if (log->super_fd == -ENOENT)
		return err_set(err, -EUCLEAN, "%s is missing", file);
	if (log->super_fd < 0)
		return err_sys(err, log->super_fd, "cannot open %s", file);
	rc = lock_super(log, !layer, err);
	if (rc == 0)
		rc = read_super(log, file, err);
	if (rc == 0 && layer && !log->super.layer) {
		rc = lock_super(log, true, err);
		if (rc == 0)
			rc = read_super(log, file, err);
	}
	if (rc == 0 && log->super.layer) {
		log->read_only = true;
		rc = lock_super(log, false, err);
	}
	if (rc == 0 && log->super.layer && !log->super.clean)
		rc = err_set(err, -EUCLEAN, "%s: frozen without an end", file);
	memcpy(log->key, log->super.key, sizeof(log->key));
	log->identity = log->super;
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

static int open_log(struct log *log, struct err *err)
{
	char file[NAME_TEXT];
	/* Not blocking: where a store was tampered with it may be a FIFO. */
	int flags = (log->read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NONBLOCK;

	log_name(log->name, file);
	log->log_fd = log->io->openat(log->io, log->dirfd, file, flags, 0);
	if (log->log_fd == -ENOENT)
		return err_set(err, -EUCLEAN, "%s is missing", file);
	return log->log_fd < 0 ? err_sys(err, log->log_fd, "cannot open %s", file) : 0;
}

/* After an unclean end the place where the log was accepted to end becomes
 * durable before anything is served. Without space for that, reads go on:
 * what replay accepted lies on the medium and will be accepted again. */
static int settle_end(struct log *log, bool clean, struct err *err)
{
	int rc = clean || log->read_only ? 0 : log_start_life(log);

	if (rc < 0 && rc != -ENOSPC)
		return err_sys(err, rc, "cannot start a new segment");
	return 0;
}

static int open_files(struct delta *delta, const struct delta_options *options, struct err *err)
{
	struct log *log = &delta->log;
	char file[NAME_TEXT];
	bool clean = false;
	int rc = open_super(log, options && options->layer, err);

	if (rc == 0)
		rc = check_host(log, options && options->force_takeover, err);
	if (rc == 0)
		rc = open_log(log, err);
	log_name(log->name, file);
	if (rc == 0)
		rc = log_replay(log, file, &clean, err);
	if (rc == 0 && !log->read_only)
		log_adopt_space(log);
	if (rc == 0)
		rc = settle_end(log, clean, err);
	atomic_store(&log->frozen, log->read_only);
	atomic_store(&delta->size_bytes, log->super.size_bytes);
	return rc;
}

static int delta_init(
	struct delta *delta, int dirfd, const char *name, const struct delta_options *options)
{
	struct log *log = &delta->log;

	log->io = options && options->io ? options->io : &io_kernel;
	log->space = options ? options->space : NULL;
	log->super_fd = log->log_fd = -1;
	log->dirfd = log->io->openat(log->io, dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
	snprintf(log->name, sizeof(log->name), "%s", name);
	log->epoch = random_u64();
	log->queue_end = &log->queue;
	log->heads = malloc(LOG_BATCH_RECORDS * RECORD_DATA_HEAD_MAX);
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->wake, NULL);
	grace_init(&log->grace);
	cleaner_init(&log->cleaner);
	index_init(&log->index);
	if (log->dirfd < 0)
		return log->dirfd;
	return log->heads ? 0 : -ENOMEM;
}

void delta_abandon(struct delta *delta)
{
	struct log *log = &delta->log;

	log_disown_space(log);
	if (log->log_fd >= 0)
		log->io->close(log->io, log->log_fd);
	if (log->super_fd >= 0)
		log->io->close(log->io, log->super_fd);
	if (log->dirfd >= 0)
		log->io->close(log->io, log->dirfd);
	index_release(&log->index);
	segment_table_release(&log->segments);
	grace_release(&log->grace);
	cleaner_release(&log->cleaner);
	pthread_cond_destroy(&log->wake);
	pthread_mutex_destroy(&log->lock);
	free(log->heads);
	free(delta);
}

/* What was to be a layer and was not yet is made one. */
static int open_layer(struct delta *delta, struct err *err)
{
	int rc = delta_freeze(delta);

	return rc < 0 ? err_sys(err, rc, "cannot freeze it") : 0;
}

int delta_open(int dirfd, const char *name, const struct delta_options *options,
	struct delta **ret_delta, struct err *err)
{
	struct delta *delta = calloc(1, sizeof(*delta));
	int rc;

	if (!delta)
		return err_sys(err, -ENOMEM, "cannot open delta %s", name);
	rc = delta_init(delta, dirfd, name, options);
	if (rc < 0)
		err_sys(err, rc, "cannot open");
	else
		rc = open_files(delta, options, err);
	if (rc == 0 && options && options->layer)
		rc = open_layer(delta, err);
	if (rc < 0) {
		err_prefix(err, "delta %s", name);
		delta_abandon(delta);
		return rc;
	}
	*ret_delta = delta;
	return 0;
}

/* Is a checkpoint worth its three syncs? Not for a log of a few slots, which
 * replays in milliseconds; otherwise always: without one at the very end the
 * next opening has to read all headers. */
static bool wants_checkpoint(const struct log *log)
{
	return log->segments.count >= SLOT_GROWING;
}

static int end_delta(struct log *log)
{
	int rc = log_flush(log);

	if (rc < 0 || log->frozen)
		return rc;
	rc = log_seal_life(log);
	if (rc == 0 && wants_checkpoint(log)) {
		log_checkpoint(log);
		rc = log_seal_life(log); /* it may have begun the life, to free lost tails */
	}
	if (rc == 0)
		log_trim_all(log); /* a failure only leaves the space there */
	return rc < 0 ? rc : log_end_life(log);
}

int delta_close(struct delta *delta)
{
	int rc;

	if (!delta)
		return 0;
	rc = end_delta(&delta->log);
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

bool delta_broken(const struct delta *delta)
{
	return atomic_load(&delta->log.broken) < 0;
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
	if (atomic_load(&log->frozen))
		return -EROFS;
	log_take_lead(log);
	if (size_bytes < log->super.size_bytes) {
		rc = -EINVAL;
	} else if (size_bytes > log->super.size_bytes) {
		struct super next = log->super;

		next.size_bytes = size_bytes;
		rc = log_put_super(log, &next);
		if (rc == 0)
			atomic_store(&delta->size_bytes, size_bytes);
		/* Both copies: with one of them damaged, what lies beyond the
		 * old size would look like a torn tail. */
		if (rc == 0 && log_put_super(log, &log->super) == -EIO)
			rc = -EIO;
	}
	log_give_lead(log);
	return rc;
}

void delta_disown(struct delta *delta)
{
	struct log *log = &delta->log;

	log_take_lead(log);
	log_disown_space(log);
	log->space = NULL;
	log_give_lead(log);
}

void delta_stats(struct delta *delta, struct delta_stats *ret_stats)
{
	struct log *log = &delta->log;
	struct stat st;

	memset(ret_stats, 0, sizeof(*ret_stats));
	index_stats(&log->index, ret_stats);
	if (fstat(log->log_fd, &st) == 0)
		ret_stats->log_bytes = (uint64_t)st.st_blocks * 512;
	log_slot_bytes(log, &ret_stats->used_bytes, &ret_stats->free_bytes);
	SCOPED_LOCK(&log->lock);
	ret_stats->last_write_sec = log->written_sec;
	ret_stats->replayed_bytes = log->replayed_bytes;
	ret_stats->appended_bytes = log->appended_bytes;
	ret_stats->moved_bytes = log->moved_bytes;
	ret_stats->damaged_blocks = log->damaged_blocks;
	ret_stats->checkpoint_bytes = log->checkpoints_bytes;
}

struct delta *delta_new_view(const struct io_gate *io, int dirfd, const char *name)
{
	const struct delta_options options = {.io = io};
	struct delta *delta = calloc(1, sizeof(*delta));

	if (!delta)
		return NULL;
	if (delta_init(delta, dirfd, name, &options) < 0) {
		delta_abandon(delta);
		return NULL;
	}
	delta->log.read_only = true;
	atomic_store(&delta->log.frozen, true);
	return delta;
}
