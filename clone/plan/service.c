/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon as a service: started, found, stopped, and its dead mounts cleared.
 *
 * A mount whose daemon hangs can stop any process that touches it for ever,
 * in a state that no signal ends. So nothing here touches a mount itself: the
 * kernel's table says what is mounted, and a child process asks it to answer.
 */
#include "clone/plan/service.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "clone/plan/place.h"
#include "clone/plan/view.h"
#include "clone/state/paths.h"
#include "fs/ctl/ctl.h"
#include "fs/store/store.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"
#include "fs/util/mounts.h"
#include "fs/util/proc.h"

#define DEAD_MOUNTS_MAX 16     /* one upon the other */
#define POLL_MS 10
#define PEER_START_MS 20000    /* another command's daemon that is just starting */
#define STOP_MS 30000          /* a stop flushes every open disk */
#define HELPER_MS 10000        /* fusermount3 */
#define MOUNTPOINT_MODE 0755

static void cleanup_ctl(struct ctl **ctl)
{
	ctl_close(*ctl);
}

static void cleanup_json(json_t **json)
{
	json_decref(*json);
}

static void pause_ms(long ms)
{
	struct timespec span = {.tv_nsec = ms * 1000000};

	nanosleep(&span, NULL);
}

/* ---- the mount ---- */

static int ask_statfs(const void *path)
{
	struct statfs fs;

	return statfs(path, &fs) ? -errno : 0;
}

enum mount_state service_mount_state(const char *mountpoint)
{
	char path[PATH_MAX];
	struct mounts_entry entry;
	int rc;

	if (mounts_canonical(mountpoint, path) || mounts_at(path, &entry) <= 0)
		return MOUNT_NONE;
	if (strcmp(entry.type, PLACE_MOUNT_TYPE))
		return MOUNT_OTHER;
	rc = proc_try(ask_statfs, path, SERVICE_ANSWER_MS);
	if (rc == -ETIMEDOUT)
		return MOUNT_HUNG;
	return rc == -ENOTCONN || rc == -ECONNABORTED ? MOUNT_DEAD : MOUNT_ALIVE;
}

/* Detach one dead mount: what still has files open there has lost them already. */
static int detach(const char *path, struct err *err)
{
	const char *const argv[] = {"fusermount3", "-u", "-z", "--", path, NULL};
	char said[PROC_STDERR_MAX];
	int status;
	int rc;

	if (!geteuid())
		return umount2(path, MNT_DETACH) ? err_sys(err, -errno, "unmounting %s", path) : 0;
	rc = proc_run(argv, HELPER_MS, &status, said, err);
	if (!rc && status) {
		said[strcspn(said, "\n")] = '\0';
		rc = err_set(err, -EPERM, "unmounting %s: %s", path, said);
	}
	return rc;
}

static int clear_dead(struct session *session, const char *mountpoint, struct err *err)
{
	char path[PATH_MAX];
	int rc = mounts_canonical(mountpoint, path);

	if (rc)
		return err_sys(err, rc, "mount point %s", mountpoint);
	for (int i = 0; !rc && i < DEAD_MOUNTS_MAX; i++) {
		if (service_mount_state(path) != MOUNT_DEAD)
			return 0;
		session_notice(session, "clearing the dead mount at %s", path);
		rc = detach(path, err);
	}
	return rc;
}

static int hung_error(const char *mountpoint, struct err *err)
{
	err_set(err, -ETIMEDOUT, "mount point %s: its daemon does not answer", mountpoint);
	err_hint(err, "find it with 'pgrep -a lazyclonefs'; when it was killed, "
		"'lazyclone mount' clears the mount");
	return -ETIMEDOUT;
}

/* Is there room for our mount? */
static int check_free(const char *mountpoint, struct err *err)
{
	switch (service_mount_state(mountpoint)) {
	case MOUNT_NONE:
	case MOUNT_DEAD: /* cleared just now, unless it cannot be: the daemon says so */
		return 0;
	case MOUNT_HUNG:
		return hung_error(mountpoint, err);
	case MOUNT_ALIVE:
		err_set(err, -EBUSY, "mount point %s: another store is mounted there", mountpoint);
		err_hint(err, "give another one: lazyclone mount MOUNTPOINT");
		return -EBUSY;
	case MOUNT_OTHER:
		break;
	}
	err_set(err, -EBUSY, "mount point %s: another file system is mounted there", mountpoint);
	err_hint(err, "give another one: lazyclone mount MOUNTPOINT");
	return -EBUSY;
}

/* ---- starting ---- */

/* The usual mount point is made, with its parents; one that the user named must be there. */
static int make_usual_mountpoint(const char *mountpoint, struct err *err)
{
	char path[PATH_MAX];

	if (strlen(mountpoint) >= sizeof(path))
		return err_set(err, -ENAMETOOLONG, "mount point %s: path too long", mountpoint);
	strcpy(path, mountpoint);
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, MOUNTPOINT_MODE) && errno != EEXIST)
			return err_sys(err, -errno, "making %s", path);
		*slash = '/';
	}
	if (mkdir(path, MOUNTPOINT_MODE) && errno != EEXIST)
		return err_sys(err, -errno, "making the mount point %s", path);
	return 0;
}

/* What a program of ours said: "NAME: error: MESSAGE\nhint: HINT\n". */
static int pass_on(int status, char *said, struct err *err)
{
	int code = err_of_exit_status(status);
	char *hint = strstr(said, "\nhint: ");
	char *message = strstr(said, ": error: ");

	if (hint) {
		*hint = '\0';
		hint += strlen("\nhint: ");
		hint[strcspn(hint, "\n")] = '\0';
	}
	message = message ? message + strlen(": error: ") : said;
	message[strcspn(message, "\n")] = '\0';
	if (!*message)
		err_set(err, code, "starting the daemon: it ended with status %d", status);
	else
		err_set(err, code, "%s", message);
	if (hint)
		err_hint(err, "%s", hint);
	return code;
}

static int spawn(const char *store, const char *mountpoint, struct err *err)
{
	AUTO_FREE char *program = NULL;
	char said[PROC_STDERR_MAX];
	int status;
	int rc = paths_daemon(&program, err);

	if (!rc) {
		const char *const argv[] = {program, store, mountpoint, NULL};

		rc = proc_run(argv, SERVICE_START_MS, &status, said, err);
	}
	if (rc)
		return rc;
	return status ? pass_on(status, said, err) : 0;
}

/* The mount point that the running daemon names. */
static int daemon_mountpoint(struct ctl *ctl, char **ret_mountpoint, struct err *err)
{
	AUTO(cleanup_json) json_t *status = NULL;
	const char *mountpoint;
	int rc = ctl_status(ctl, &status, err);

	if (rc)
		return rc;
	mountpoint = json_string_value(json_object_get(status, "mountpoint"));
	*ret_mountpoint = mountpoint ? strdup(mountpoint) : NULL;
	return *ret_mountpoint ? 0 : err_set(err, -EIO, "the daemon names no mount point");
}

/* It runs: where the user wants it? */
static int check_running(struct ctl *ctl, const char *wanted, struct err *err)
{
	AUTO_FREE char *mountpoint = NULL;
	char path[PATH_MAX];
	int rc = daemon_mountpoint(ctl, &mountpoint, err);

	if (rc)
		return rc;
	if (wanted && (mounts_canonical(wanted, path) || strcmp(path, mountpoint))) {
		err_set(err, -EBUSY, "the store is mounted at %s already", mountpoint);
		err_hint(err, "lazyclone umount");
		return -EBUSY;
	}
	switch (service_mount_state(mountpoint)) {
	case MOUNT_ALIVE:
		return 0;
	case MOUNT_HUNG:
		return hung_error(mountpoint, err);
	default:
		err_set(err, -EBUSY, "the daemon runs, but %s is not its mount any more", mountpoint);
		err_hint(err, "lazyclone umount; lazyclone mount");
		return -EBUSY;
	}
}

/* Somebody else started the daemon at the same moment: wait until it is
 * reachable, as long as it holds the store. */
static int await_peer(struct store *store, struct ctl **ret_ctl)
{
	int64_t deadline_ms = clock_now_ms() + PEER_START_MS;
	int rc;

	do {
		rc = ctl_connect(store_id(store), ret_ctl, NULL);
		if (rc != -ECONNREFUSED)
			return rc;
		pause_ms(POLL_MS);
	} while (store_locked(store) == 1 && clock_now_ms() < deadline_ms);
	return ctl_connect(store_id(store), ret_ctl, NULL);
}

static int start(struct session *session, struct store *store, const char *wanted,
	struct err *err)
{
	const char *mountpoint = wanted ? wanted : session_mountpoint(session);
	AUTO(cleanup_ctl) struct ctl *ctl = NULL;
	int rc;

	rc = clear_dead(session, mountpoint, err);
	if (!rc)
		rc = check_free(mountpoint, err);
	if (!rc && !wanted)
		rc = make_usual_mountpoint(mountpoint, err);
	if (!rc)
		rc = spawn(store_path(store), mountpoint, err);
	if (rc == -EBUSY && !await_peer(store, &ctl))
		return check_running(ctl, wanted, err);
	if (!rc && wanted)
		rc = paths_remember_mountpoint(store_path(store), wanted, err);
	return rc;
}

static void notice_disks(struct session *session, const json_t *clone)
{
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(clone, "disks"), i, disk) {
		const char *trouble = json_string_value(json_object_get(disk, "error"));

		if (trouble)
			session_notice(session, "clone %s, disk %s: %s",
				json_string_value(json_object_get(clone, "name")),
				json_string_value(json_object_get(disk, "target")), trouble);
	}
}

/* A base that changed while nobody held it is found now: its clones' disks
 * are there and answer with errors, which must not be a surprise. */
static void notice_troubles(struct session *session, struct store *store)
{
	AUTO(cleanup_ctl) struct ctl *ctl = NULL;
	json_t *status = NULL;
	const json_t *clone;
	size_t i;

	if (ctl_connect(store_id(store), &ctl, NULL) || ctl_status(ctl, &status, NULL))
		return;
	json_array_foreach(json_object_get(status, "clones"), i, clone)
		notice_disks(session, clone);
	json_decref(status);
}

int service_mount(struct session *session, const char *mountpoint, struct err *err)
{
	AUTO(cleanup_ctl) struct ctl *ctl = NULL;
	char wanted[PATH_MAX];
	struct store *store;
	int rc;

	rc = session_need_store(session, true, &store, err);
	if (rc)
		return rc;
	if (mountpoint) {
		rc = mounts_canonical(mountpoint, wanted);
		if (rc)
			return err_sys(err, rc, "mount point %s", mountpoint);
		mountpoint = wanted;
	}
	if (service_mount_state(session_mountpoint(session)) == MOUNT_HUNG)
		return hung_error(session_mountpoint(session), err);
	rc = ctl_connect(store_id(store), &ctl, err);
	if (!rc)
		return check_running(ctl, mountpoint, err);
	if (rc != -ECONNREFUSED)
		return rc;
	rc = start(session, store, mountpoint, err);
	if (!rc)
		notice_troubles(session, store);
	return rc;
}

int service_where(struct session *session, char **ret_mountpoint, struct err *err)
{
	AUTO(cleanup_ctl) struct ctl *ctl = NULL;
	struct store *store;
	int rc;

	rc = session_need_store(session, false, &store, err);
	if (!rc)
		rc = ctl_connect(store_id(store), &ctl, err);
	return rc ? rc : daemon_mountpoint(ctl, ret_mountpoint, err);
}

/* ---- stopping ---- */

static int refuse_user(const struct disk_user *user, struct err *err)
{
	err_set(err, -EBUSY, "domain %s is running on disk %s of clone %s", user->domain,
		user->target, user->clone);
	err_hint(err, "virsh shutdown %s", user->domain);
	return -EBUSY;
}

/* Guests that hang lost their disks already. libvirt out of reach is no reason
 * to refuse: the daemon, which is asked next, counts open disks itself. */
static int check_users(struct session *session, struct err *err)
{
	struct view view;
	int rc = view_load(session, &view, err);

	if (rc)
		return rc;
	for (uint32_t i = 0; !rc && i < view.n_users; i++)
		if (!view_user_hangs(&view, &view.users[i]))
			rc = refuse_user(&view.users[i], err);
	view_clear(&view);
	return rc;
}

static int await_gone(struct store *store, const char *mountpoint, struct err *err)
{
	int64_t deadline_ms = clock_now_ms() + STOP_MS;

	while (store_locked(store) == 1 || service_mount_state(mountpoint) == MOUNT_ALIVE) {
		if (clock_now_ms() > deadline_ms)
			return err_set(err, -ETIMEDOUT, "the daemon of %s does not stop",
				store_path(store));
		pause_ms(POLL_MS);
	}
	return 0;
}

/* The locks and leases on the originals went with the daemon. */
static void notice_unprotected(struct session *session, struct store *store)
{
	char **names;
	uint32_t count;

	if (store_list(store, &names, &count, NULL))
		return;
	store_names_free(names, count);
	if (count > 0)
		session_notice(session, "nothing holds the originals of %u clone%s until the store is "
			"mounted again: an original that is started or changed meanwhile costs the "
			"clones", count, count == 1 ? "" : "s");
}

static int stop(struct session *session, struct store *store, struct ctl *ctl, struct err *err)
{
	AUTO_FREE char *mountpoint = NULL;
	int rc;

	rc = daemon_mountpoint(ctl, &mountpoint, err);
	if (!rc)
		rc = check_users(session, err);
	if (!rc)
		rc = ctl_stop(ctl, err);
	if (!rc)
		rc = await_gone(store, mountpoint, err);
	if (!rc)
		notice_unprotected(session, store);
	return rc;
}

static int stop_without_daemon(struct session *session, struct err *err)
{
	const char *mountpoint = session_mountpoint(session);

	switch (service_mount_state(mountpoint)) {
	case MOUNT_DEAD:
		return clear_dead(session, mountpoint, err);
	case MOUNT_HUNG:
		return hung_error(mountpoint, err);
	case MOUNT_ALIVE:
	case MOUNT_OTHER:
		return err_set(err, -EBUSY, "what is mounted at %s is not this store", mountpoint);
	case MOUNT_NONE:
		break;
	}
	session_notice(session, "%s is not mounted", mountpoint);
	return 0;
}

int service_umount(struct session *session, struct err *err)
{
	AUTO(cleanup_ctl) struct ctl *ctl = NULL;
	struct store *store;
	int rc;

	rc = session_need_store(session, false, &store, err);
	if (rc)
		return rc;
	if (service_mount_state(session_mountpoint(session)) == MOUNT_HUNG)
		return hung_error(session_mountpoint(session), err);
	rc = ctl_connect(store_id(store), &ctl, err);
	if (rc == -ECONNREFUSED)
		return stop_without_daemon(session, err);
	return rc ? rc : stop(session, store, ctl, err);
}
