/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holding a file: open, protect, then look at it; and the table that shares holds.
 *
 * The order matters: locks and lease first, identity afterwards. What was
 * seen before the protection may be gone; what is seen under it stays.
 *
 * The table's lock is never held across a look at an image, which may take
 * as long as its server does. So two openers may make the same file at the
 * same time; the second to enter the table takes the first one's.
 */
#include "fs/base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/locks.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

static struct {
	pthread_mutex_t lock;
	struct file *first; /* under lock */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- a file's life ---- */

static void file_free(struct file *file)
{
	if (!file)
		return;
	close_fd(&file->raw.fd);
	gate_destroy(&file->gate);
	pthread_mutex_destroy(&file->hole_lock);
	free(file->path);
	free(file);
}

static struct file *file_new(const char *path, const struct raw *raw)
{
	struct file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	gate_init(&file->gate, BASE_SUSPEND_LIMIT_MS);
	pthread_mutex_init(&file->hole_lock, NULL);
	file->raw = *raw;
	file->waiting = waiting_of(raw->number);
	file->holds = 1;
	file->path = strdup(path);
	if (!file->path) {
		file->raw.fd = -1; /* still the caller's */
		file_free(file);
		return NULL;
	}
	return file;
}

static int refuse(const char *path, const char *why, struct err *err)
{
	err_set(err, -ESTALE, "base %s: %s", path, why);
	err_hint(err, "its clones need it as it was: put the original back, or remove the clones");
	return -ESTALE;
}

/* Is the open image what was recorded? */
static int check(const char *path, const struct identity *recorded, const struct raw *raw,
	struct err *err)
{
	char why[IDENTITY_WHY_MAX];
	int rc = identity_compare(recorded, raw, why);

	if (rc == -ESTALE)
		return refuse(path, why, err);
	return rc < 0 ? err_sys(err, rc, "base %s: cannot be compared", path) : 0;
}

/* Under protection from here on. recorded NULL: it is what is there now. */
static int look(struct file *file, const struct identity *recorded, struct err *err)
{
	int rc = raw_refresh(&file->raw);

	if (rc < 0)
		return err_sys(err, rc, "base %s", file->path);
	if (recorded) {
		file->identity = *recorded;
		return check(file->path, recorded, &file->raw, err);
	}
	rc = identity_take(&file->raw, &file->identity);
	return rc < 0 ? err_sys(err, rc, "base %s: cannot be read", file->path) : 0;
}

static int protect(struct file *file, struct err *err)
{
	int rc = locks_take(file->raw.fd, file->path, err);

	if (rc < 0)
		return rc;
	rc = watch_start(&file->watch, &file->gate, &file->raw, &file->identity);
	if (rc < 0)
		return err_sys(err, rc, "base %s: cannot start its watcher", file->path);
	rc = watch_lease(&file->watch);
	if (rc < 0) {
		watch_stop(&file->watch);
		err_set(err, rc, "%s: open for writing by another program", file->path);
		err_hint(err, "end it first; `fuser -v %s` names it", file->path);
	}
	return rc;
}

/* Hold the open file; takes over its descriptor if it succeeds. */
static int make(const char *path, const struct raw *raw, const struct identity *recorded,
	struct file **ret_file, struct err *err)
{
	struct file *file = file_new(path, raw);
	int rc;

	if (!file)
		return err_sys(err, -ENOMEM, "base %s", path);
	rc = protect(file, err);
	if (rc == 0) {
		rc = look(file, recorded, err);
		if (rc < 0)
			watch_stop(&file->watch);
	}
	if (rc < 0) {
		file->raw.fd = -1;
		file_free(file);
		return rc;
	}
	watch_arm(&file->watch);
	*ret_file = file;
	return 0;
}

static void end(struct file *file)
{
	watch_stop(&file->watch);
	file_free(file);
}

/* ---- the table ---- */

/* The same file, held already, with one hold more. One that has changed is not
 * offered: what is there now may be cloned anew. recorded NULL: any. */
static struct file *find_locked(const struct raw *raw, const struct identity *recorded)
{
	for (struct file *file = table.first; file; file = file->next) {
		if (!raw_same(&file->raw, raw) || gate_state(&file->gate) == BASE_CHANGED)
			continue;
		if (recorded && !identity_same(&file->identity, recorded))
			continue;
		file->holds++;
		return file;
	}
	return NULL;
}

static struct file *find(const struct raw *raw, const struct identity *recorded)
{
	SCOPED_LOCK(&table.lock);
	return find_locked(raw, recorded);
}

/* Put it into the table, or return the twin that was faster. */
static struct file *enter(struct file *file)
{
	struct file *twin;

	SCOPED_LOCK(&table.lock);
	twin = find_locked(&file->raw, &file->identity);
	if (twin)
		return twin;
	file->next = table.first;
	table.first = file;
	return file;
}

/* One hold less; true when it was the last and the file left the table. */
static bool leave(struct file *file)
{
	struct file **link = &table.first;

	SCOPED_LOCK(&table.lock);
	if (--file->holds > 0)
		return false;
	while (*link != file)
		link = &(*link)->next;
	*link = file->next;
	return true;
}

/* ---- the door ---- */

/* Gone means changed for somebody who knew it. */
static int open_known(const char *path, bool known, struct raw *ret_raw, struct err *err)
{
	int rc = raw_open(path, ret_raw, err);

	if (known && (rc == -ENOENT || rc == -ENOTDIR))
		return refuse(path, "is not there any more (moved or deleted)", err);
	return rc;
}

/* A file that is held already: is it still good for this one? The look goes
 * through the held descriptor; the caller's own shows the same file. */
static int check_held(struct file *file, struct err *err)
{
	if (gate_state(&file->gate) == BASE_SUSPENDED)
		return err_set(err, -EBUSY, "%s: open for writing by another program", file->path);
	return check(file->path, &file->identity, &file->raw, err);
}

/* 1 and a hold of one that is held already, 0 if there is none that fits. */
static int share(const struct raw *raw, const struct identity *recorded,
	struct file **ret_file, struct err *err)
{
	struct file *file = find(raw, recorded);
	int rc;

	if (!file)
		return 0;
	rc = check_held(file, err);
	if (rc == 0) {
		*ret_file = file;
		return 1;
	}
	file_release(file);
	/* Whoever comes without an identity takes the image as it is now. */
	return rc == -ESTALE && !recorded ? 0 : rc;
}

static int share_or_make(const char *path, const struct identity *recorded,
	const struct raw *raw, struct file **ret_file, struct err *err)
{
	int rc = share(raw, recorded, ret_file, err);

	return rc == 0 ? make(path, raw, recorded, ret_file, err) : rc;
}

int file_hold(const char *path, const struct identity *recorded, struct file **ret_file,
	struct err *err)
{
	struct raw raw = {.fd = -1};
	struct file *file = NULL;
	struct file *shared;
	int rc = open_known(path, recorded != NULL, &raw, err);

	if (rc < 0)
		return rc;
	rc = share_or_make(path, recorded, &raw, &file, err);
	if (rc != 0)
		close_fd(&raw.fd); /* failed, or the shared one has its own */
	if (rc < 0)
		return rc;
	shared = rc == 1 ? file : enter(file);
	if (shared != file)
		end(file);
	*ret_file = shared;
	return 0;
}

void file_release(struct file *file)
{
	if (file && leave(file))
		end(file);
}

/* Only asked where a lease says that the file system is a local one: another's
 * server may keep us waiting. */
bool file_moved(const struct file *file, const char *path)
{
	struct stat held, named;

	if (!atomic_load(&file->watch.leased) || fstat(file->raw.fd, &held) < 0)
		return false;
	if (stat(path, &named) < 0)
		return errno == ENOENT || errno == ENOTDIR;
	return named.st_ino != held.st_ino || named.st_dev != held.st_dev;
}

/* ---- its bytes ---- */

static int try_read(struct file *file, void *buf, size_t len, uint64_t off)
{
	int rc = -EAGAIN;

	if (!waiting_may_try(file->waiting))
		return rc;
	rc = raw_read(&file->raw, buf, len, off, true);
	if (rc == -EAGAIN)
		waiting_miss(file->waiting);
	return rc;
}

static int wait_read(struct file *file, void *buf, size_t len, uint64_t off)
{
	int rc;

	waiting_begin(file->waiting);
	rc = raw_read(&file->raw, buf, len, off, false);
	waiting_end(file->waiting);
	return rc;
}

int file_read(struct file *file, void *buf, size_t len, uint64_t off, bool nowait)
{
	int rc = gate_enter(&file->gate, nowait);

	if (rc < 0)
		return rc;
	rc = nowait ? try_read(file, buf, len, off) : wait_read(file, buf, len, off);
	if (gate_leave(&file->gate))
		watch_wake(&file->watch);
	return rc;
}

/* A held file does not change, so the stretch stays true; asking along it
 * costs one look per stretch. One that did change is all data: a read of it
 * fails, and must not be taken for zeros. */
bool file_hole(struct file *file, uint64_t off, uint64_t len, uint64_t *ret_run)
{
	SCOPED_LOCK(&file->hole_lock);
	*ret_run = len;
	if (off >= file->raw.size_bytes)
		return true;
	if (gate_state(&file->gate) == BASE_CHANGED)
		return false;
	if (off < file->stretch_start || off >= file->stretch_end) {
		file->stretch_hole = raw_hole(&file->raw, off, &file->stretch_end);
		file->stretch_start = off;
	}
	/* What follows the end is a hole as well. */
	if (!file->stretch_hole || file->stretch_end < file->raw.size_bytes)
		*ret_run = min_u64(len, file->stretch_end - off);
	return file->stretch_hole;
}

static int read_bytes(void *of, void *buf, size_t len, uint64_t off, bool nowait)
{
	return file_read(of, buf, len, off, nowait);
}

static bool hole_bytes(void *of, uint64_t off, uint64_t len, uint64_t *ret_run)
{
	return file_hole(of, off, len, ret_run);
}

struct bytes file_bytes(struct file *file)
{
	return (struct bytes){
		.of = file,
		.size_bytes = file->raw.size_bytes,
		.read = read_bytes,
		.hole = hole_bytes,
	};
}
