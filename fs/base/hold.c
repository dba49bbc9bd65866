/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holding a base: open, protect, then look at it; and the table that shares holds.
 *
 * The order matters: locks and lease first, identity afterwards. What was
 * seen before the protection may be gone; what is seen under it stays.
 *
 * The table's lock is never held across a look at an image, which may take
 * as long as its server does. So two openers may make the same base at the
 * same time; the second to enter the table takes the first one's.
 */
#include "fs/base/hold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/locks.h"
#include "fs/util/cleanup.h"

static struct {
	pthread_mutex_t lock;
	struct base *first; /* under lock */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- a base's life ---- */

static void base_free(struct base *base)
{
	if (!base)
		return;
	close_fd(&base->raw.fd);
	gate_destroy(&base->gate);
	pthread_mutex_destroy(&base->hole_lock);
	free(base->identity_text);
	free(base->path);
	free(base);
}

static struct base *base_new(const char *path, const struct raw *raw)
{
	struct base *base = calloc(1, sizeof(*base));

	if (!base)
		return NULL;
	gate_init(&base->gate, BASE_SUSPEND_LIMIT_MS);
	pthread_mutex_init(&base->hole_lock, NULL);
	base->raw = *raw;
	base->holds = 1;
	base->path = strdup(path);
	if (!base->path) {
		base->raw.fd = -1; /* still the caller's */
		base_free(base);
		return NULL;
	}
	return base;
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

/* The identity it is held under: the recorded one, or what is there now. */
static int settle_identity(struct base *base, const char *text, struct err *err)
{
	int rc;

	if (text) {
		rc = identity_parse(text, &base->identity, err);
		if (rc == 0)
			rc = check(base->path, &base->identity, &base->raw, err);
		if (rc < 0)
			return rc;
		base->identity_text = strdup(text);
		return base->identity_text ? 0 : err_sys(err, -ENOMEM, "base %s", base->path);
	}
	rc = identity_take(&base->raw, &base->identity);
	if (rc == 0)
		rc = identity_format(&base->identity, &base->identity_text);
	return rc < 0 ? err_sys(err, rc, "base %s: cannot be read", base->path) : 0;
}

/* Under protection from here on. */
static int look(struct base *base, const char *identity_text, struct err *err)
{
	int rc = raw_refresh(&base->raw);

	if (rc < 0)
		return err_sys(err, rc, "base %s", base->path);
	return settle_identity(base, identity_text, err);
}

static int protect(struct base *base, struct err *err)
{
	int rc = locks_take(base->raw.fd, base->path, err);

	if (rc < 0)
		return rc;
	rc = watch_start(&base->watch, &base->gate, &base->raw, &base->identity);
	if (rc < 0)
		return err_sys(err, rc, "base %s: cannot start its watcher", base->path);
	rc = watch_lease(&base->watch);
	if (rc < 0) {
		watch_stop(&base->watch);
		err_set(err, rc, "%s: open for writing by another program", base->path);
		err_hint(err, "end it first; `fuser -v %s` names it", base->path);
	}
	return rc;
}

/* Make a base of the open image; takes over its descriptor if it succeeds. */
static int make(const char *path, const struct raw *raw, const char *identity_text,
	struct base **ret_base, struct err *err)
{
	struct base *base = base_new(path, raw);
	int rc;

	if (!base)
		return err_sys(err, -ENOMEM, "base %s", path);
	rc = protect(base, err);
	if (rc == 0) {
		rc = look(base, identity_text, err);
		if (rc < 0)
			watch_stop(&base->watch);
	}
	if (rc < 0) {
		base->raw.fd = -1;
		base_free(base);
		return rc;
	}
	watch_arm(&base->watch);
	*ret_base = base;
	return 0;
}

static void end(struct base *base)
{
	watch_stop(&base->watch);
	base_free(base);
}

/* ---- the table ---- */

/* A base of the same image, with one hold more. One that has changed is not
 * offered: what is there now may be cloned anew. recorded NULL: any. */
static struct base *find_locked(const struct raw *raw, const struct identity *recorded)
{
	for (struct base *base = table.first; base; base = base->next) {
		if (!raw_same(&base->raw, raw) || gate_state(&base->gate) == BASE_CHANGED)
			continue;
		if (recorded && !identity_same(&base->identity, recorded))
			continue;
		base->holds++;
		return base;
	}
	return NULL;
}

static struct base *find(const struct raw *raw, const struct identity *recorded)
{
	SCOPED_LOCK(&table.lock);
	return find_locked(raw, recorded);
}

/* Put it into the table, or return the twin that was faster. */
static struct base *enter(struct base *base)
{
	struct base *twin;

	SCOPED_LOCK(&table.lock);
	twin = find_locked(&base->raw, &base->identity);
	if (twin)
		return twin;
	base->next = table.first;
	table.first = base;
	return base;
}

/* One hold less; true when it was the last and the base left the table. */
static bool leave(struct base *base)
{
	struct base **link = &table.first;

	SCOPED_LOCK(&table.lock);
	if (--base->holds > 0)
		return false;
	while (*link != base)
		link = &(*link)->next;
	*link = base->next;
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

/* A base that is held already: is it still good for this one? The look goes
 * through the held descriptor; the caller's own shows the same file. */
static int check_held(struct base *base, struct err *err)
{
	if (gate_state(&base->gate) == BASE_SUSPENDED)
		return err_set(err, -EBUSY, "%s: open for writing by another program", base->path);
	return check(base->path, &base->identity, &base->raw, err);
}

/* 1 and a hold of one that is held already, 0 if there is none that fits. */
static int share(const struct raw *raw, const struct identity *recorded,
	struct base **ret_base, struct err *err)
{
	struct base *base = find(raw, recorded);
	int rc;

	if (!base)
		return 0;
	rc = check_held(base, err);
	if (rc == 0) {
		*ret_base = base;
		return 1;
	}
	base_release(base);
	/* Whoever comes without an identity takes the image as it is now. */
	return rc == -ESTALE && !recorded ? 0 : rc;
}

static int share_or_make(const char *path, const char *identity_text, const struct raw *raw,
	struct base **ret_base, struct err *err)
{
	struct identity recorded;
	int rc = identity_text ? identity_parse(identity_text, &recorded, err) : 0;

	if (rc == 0)
		rc = share(raw, identity_text ? &recorded : NULL, ret_base, err);
	return rc == 0 ? make(path, raw, identity_text, ret_base, err) : rc;
}

int base_hold(const char *path, const char *identity, struct base **ret_base, struct err *err)
{
	struct raw raw = {.fd = -1};
	struct base *base = NULL;
	struct base *shared;
	int rc = open_known(path, identity != NULL, &raw, err);

	if (rc < 0)
		return rc;
	rc = share_or_make(path, identity, &raw, &base, err);
	if (rc != 0)
		close_fd(&raw.fd); /* failed, or the shared base has its own */
	if (rc < 0)
		return rc;
	shared = rc == 1 ? base : enter(base);
	if (shared != base)
		end(base);
	*ret_base = shared;
	return 0;
}

struct base *base_ref(struct base *base)
{
	SCOPED_LOCK(&table.lock);
	base->holds++;
	return base;
}

void base_release(struct base *base)
{
	if (base && leave(base))
		end(base);
}

const char *base_identity(const struct base *base)
{
	return base->identity_text;
}

/* Only asked where a lease says that the file system is a local one: another's
 * server may keep us waiting. */
static bool has_moved(const struct base *base)
{
	struct stat held, named;

	if (!atomic_load(&base->watch.leased) || fstat(base->raw.fd, &held) < 0)
		return false;
	if (stat(base->path, &named) < 0)
		return errno == ENOENT || errno == ENOTDIR;
	return named.st_ino != held.st_ino || named.st_dev != held.st_dev;
}

void base_info(struct base *base, struct base_info *ret_info)
{
	bool moved = has_moved(base);

	SCOPED_LOCK(&table.lock);
	*ret_info = (struct base_info){
		.path = base->path,
		.size_bytes = base->raw.size_bytes,
		.allocated_bytes = base->raw.allocated_bytes,
		.state = gate_state(&base->gate),
		.leased = atomic_load(&base->watch.leased),
		.moved = moved,
		.holds = base->holds,
	};
}

int base_identify(
	const char *path, char **ret_identity, uint64_t *ret_size_bytes, struct err *err)
{
	struct raw raw = {.fd = -1};
	struct identity identity;
	int rc = raw_open(path, &raw, err);

	if (rc < 0)
		return rc;
	rc = locks_test(raw.fd, path, err);
	if (rc == 0) {
		rc = identity_take(&raw, &identity);
		if (rc == 0)
			rc = identity_format(&identity, ret_identity);
		if (rc < 0)
			err_sys(err, rc, "%s: cannot be read", path);
	}
	close_fd(&raw.fd);
	if (rc == 0)
		*ret_size_bytes = identity.size_bytes;
	return rc;
}

bool base_identity_equal(const char *a, const char *b)
{
	struct identity ia;
	struct identity ib;

	return identity_parse(a, &ia, NULL) == 0 && identity_parse(b, &ib, NULL) == 0 &&
		identity_same(&ia, &ib);
}
