/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking and comparing identities: see identity.h.
 *
 * Of a file: file-system id, inode, size, mtime and a sample. ctime moves
 * with every chown and rename, so a moved ctime only says that the sample
 * must be looked at. Of a device: its stable id, size and sample; its node is
 * made anew at each boot and its times mean nothing.
 */
#include "fs/base/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/base/origin.h"
#include "fs/base/sample.h"

/* A file written within this time may be written once more without its mtime
 * moving: kernels stamp files with the time of the last tick (10 ms at most). */
#define SETTLE_NS 20000000

static struct moment moment_of(struct timespec t)
{
	return (struct moment){.sec = t.tv_sec, .nsec = (uint32_t)t.tv_nsec};
}

static bool moment_same(struct moment a, struct moment b)
{
	return a.sec == b.sec && a.nsec == b.nsec;
}

/* Everything but the sample. */
static int take_quick(const struct raw *raw, struct identity *ret_identity)
{
	struct identity now = {.device = raw->device};
	struct raw fresh = *raw;
	struct stat st;
	int rc = raw_refresh(&fresh);

	if (rc < 0)
		return rc;
	now.size_bytes = fresh.size_bytes;
	if (raw->device) {
		origin_device_id(raw->number, now.device_id);
		*ret_identity = now;
		return 0;
	}
	if (fstat(raw->fd, &st) < 0)
		return -errno;
	now.file_system = origin_file_system(raw->fd);
	now.inode = st.st_ino;
	now.modified = moment_of(st.st_mtim);
	now.changed = moment_of(st.st_ctim);
	*ret_identity = now;
	return 0;
}

/* Wait until a write from now on must move the mtime. */
static void settle(const struct raw *raw)
{
	struct timespec now;
	struct stat st;
	int64_t age_ns;

	if (raw->device || fstat(raw->fd, &st) < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec - st.st_mtim.tv_sec > 1 || st.st_mtim.tv_sec > now.tv_sec)
		return;
	age_ns = (int64_t)(now.tv_sec - st.st_mtim.tv_sec) * 1000000000 + now.tv_nsec -
		st.st_mtim.tv_nsec;
	if (age_ns >= 0 && age_ns < SETTLE_NS)
		nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS - age_ns}, NULL);
}

int identity_take(const struct raw *raw, struct identity *ret_identity)
{
	struct identity now;
	int rc;

	settle(raw);
	rc = take_quick(raw, &now);
	if (rc == 0)
		rc = sample_take(raw, &now.sample);
	if (rc == 0)
		*ret_identity = now;
	return rc;
}

/* What differs apart from the sample, or NULL. */
static const char *difference(const struct identity *recorded, const struct identity *now)
{
	if (recorded->device != now->device)
		return recorded->device ? "a file, not the device" : "a device, not the file";
	/* A device that had no id when it was recorded may have got one from a
	 * newer kernel; one that had an id must show it. */
	if (recorded->device && recorded->device_id[0] != '\0' &&
		strcmp(recorded->device_id, now->device_id) != 0)
		return "another device than the one";
	if (recorded->device)
		return NULL;
	if (recorded->file_system != now->file_system)
		return "a file on another file system than the one";
	if (recorded->inode != now->inode)
		return "another file than the one";
	return NULL;
}

static int say_changed(const struct identity *recorded, const struct identity *now,
	char why[static IDENTITY_WHY_MAX])
{
	if (recorded->size_bytes != now->size_bytes)
		snprintf(why, IDENTITY_WHY_MAX,
			"has changed since it was cloned: it had %llu bytes and has %llu",
			(unsigned long long)recorded->size_bytes,
			(unsigned long long)now->size_bytes);
	else if (!moment_same(recorded->modified, now->modified))
		snprintf(why, IDENTITY_WHY_MAX,
			"has changed since it was cloned: its modification time is another");
	else
		return 0;
	return -ESTALE;
}

int identity_compare(
	const struct identity *recorded, const struct raw *raw, char why[static IDENTITY_WHY_MAX])
{
	struct identity now;
	const char *other;
	int rc = take_quick(raw, &now);

	if (rc < 0)
		return rc;
	other = difference(recorded, &now);
	if (other) {
		snprintf(why, IDENTITY_WHY_MAX, "is %s that was cloned", other);
		return -ESTALE;
	}
	rc = say_changed(recorded, &now, why);
	if (rc < 0 || (!now.device && moment_same(recorded->changed, now.changed)))
		return rc;
	rc = sample_take(raw, &now.sample);
	if (rc == 0 && now.sample != recorded->sample) {
		snprintf(why, IDENTITY_WHY_MAX,
			"has changed since it was cloned: its content is another");
		rc = -ESTALE;
	}
	return rc;
}

bool identity_same(const struct identity *a, const struct identity *b)
{
	return a->device == b->device && a->size_bytes == b->size_bytes &&
		a->sample == b->sample && a->file_system == b->file_system &&
		a->inode == b->inode && moment_same(a->modified, b->modified) &&
		strcmp(a->device_id, b->device_id) == 0;
}
