/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a clone needs, checked one by one and said in words.
 *
 * Questions about rights are put as the user who will have them: a child
 * process becomes QEMU's user and tries. Where we may not become it, the
 * answer is that it could not be checked, never a guess.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "clone/plan/service.h"
#include "clone/plan/view.h"
#include "clone/state/paths.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/proc.h"
#include "fs/util/size.h"

#define TRY_MS 5000
#define FUSE_DEVICE "/dev/fuse"
#define KVM_DEVICE "/dev/kvm"
#define PROBE_NAME ".lazyclone-doctor"
#define FREE_PERCENT_LOW 5
#define FREE_BYTES_LOW (1ull << 30) /* a guest that boots and updates itself writes that much */

struct doctor {
	struct session *session;
	struct view view;
	json_t *checks;
	uid_t qemu_uid; /* with the gid: valid if qemu_known */
	gid_t qemu_gid;
	bool qemu_known;
};

enum verdict {
	OK,
	WARNING,
	FAILED,
};

/* hint may be NULL. */
static void say(struct doctor *d, const char *check, enum verdict verdict, const char *hint,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void say(struct doctor *d, const char *check, enum verdict verdict, const char *hint,
	const char *fmt, ...)
{
	static const char *const name[] = {[OK] = "ok", [WARNING] = "warning", [FAILED] = "failed"};
	json_t *text;
	va_list ap;

	va_start(ap, fmt);
	text = json_vsprintf(fmt, ap);
	va_end(ap);
	json_array_append_new(d->checks, json_pack("{s:s, s:s, s:o, s:s?}", "check", check,
		"status", name[verdict], "text", text ? text : json_string("(not text)"), "hint",
		hint && *hint ? hint : NULL));
}

/* ---- as QEMU's user ---- */

struct trial {
	uid_t uid;
	gid_t gid;
	const char *path;
};

static int try_open(const void *ctx)
{
	const struct trial *t = ctx;
	int rc = proc_become(t->uid, t->gid);

	if (!rc && open(t->path, O_RDWR | O_CLOEXEC) < 0)
		rc = -errno;
	return rc;
}

static int try_search(const void *ctx)
{
	const struct trial *t = ctx;
	int rc = proc_become(t->uid, t->gid);

	if (!rc && faccessat(AT_FDCWD, t->path, X_OK, AT_EACCESS))
		rc = -errno;
	return rc;
}

static bool may_become(const struct doctor *d)
{
	return d->qemu_known && (!geteuid() || d->qemu_uid == geteuid());
}

static int as_qemu(const struct doctor *d, int (*try)(const void *), const char *path)
{
	struct trial t = {.uid = d->qemu_uid, .gid = d->qemu_gid, .path = path};

	return proc_try(try, &t, TRY_MS);
}

/* ---- FUSE ---- */

static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	AUTO_FREE char *dirs = strdup(path ? path : "");
	char *rest = dirs;

	for (char *dir; rest && (dir = strsep(&rest, ":"));) {
		AUTO_FREE char *file = NULL;

		if (asprintf(&file, "%s/%s", dir, program) >= 0 && !access(file, X_OK))
			return true;
	}
	return false;
}

static void check_fuse(struct doctor *d)
{
	AUTO_CLOSE int fd = open(FUSE_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		say(d, "fuse", FAILED, errno == ENOENT ? "modprobe fuse" :
			"chmod 0666 " FUSE_DEVICE, "%s: %s", FUSE_DEVICE, strerror(errno));
	else if (geteuid() && !in_path("fusermount3"))
		say(d, "fuse", FAILED, "install the package fuse3", "no fusermount3 in PATH");
	else
		say(d, "fuse", OK, NULL, "%s can be opened", FUSE_DEVICE);
}

/* An ordinary user's mount is his alone: clone refuses what could not run (user_allow_other
 * in fuse.conf would open the disks of his machines to everybody, so it is no way out). */
static void check_user(struct doctor *d)
{
	if (!geteuid() || !d->qemu_known || d->qemu_uid == geteuid())
		return;
	say(d, "user", FAILED, "run lazyclone as root, or use your own: lazyclone -c qemu:///session",
		"QEMU of %s runs as user %u and cannot see a mount of yours",
		virt_uri(d->view.virt), d->qemu_uid);
}

static void check_program(struct doctor *d)
{
	AUTO_FREE char *program = NULL;
	struct err err = {.code = 0};

	if (paths_daemon(&program, &err))
		say(d, "program", FAILED, err.hint, "%s", err.message);
	else
		say(d, "program", OK, NULL, "the daemon is %s", program);
}

/* ---- libvirt, QEMU, KVM ---- */

static void check_libvirt(struct doctor *d)
{
	struct err err = {.code = 0};
	bool labelled;

	if (!d->view.virt) {
		say(d, "libvirt", FAILED, d->view.virt_err.hint, "%s", d->view.virt_err.message);
		return;
	}
	if (virt_dac_owner(d->view.virt, &labelled, &d->qemu_uid, &d->qemu_gid, &err)) {
		say(d, "libvirt", FAILED, err.hint, "%s", err.message);
		return;
	}
	d->qemu_known = true;
	say(d, "libvirt", OK, NULL, "%s, %u domains, QEMU runs as user %u",
		virt_uri(d->view.virt), d->view.n_domains, d->qemu_uid);
}

static void check_kvm(struct doctor *d)
{
	int rc;

	if (access(KVM_DEVICE, F_OK)) {
		say(d, "kvm", WARNING, NULL,
			"no %s: guests run under emulation (<domain type='qemu'>)", KVM_DEVICE);
		return;
	}
	if (!may_become(d)) {
		say(d, "kvm", WARNING, d->qemu_known ? "run doctor as root" : NULL,
			"%s: could not be checked as QEMU's user", KVM_DEVICE);
		return;
	}
	rc = as_qemu(d, try_open, KVM_DEVICE);
	if (rc)
		say(d, "kvm", FAILED, "chmod 0666 " KVM_DEVICE,
			"%s: QEMU's user cannot open it (%s); each start may take a minute",
			KVM_DEVICE, strerror(-rc));
	else
		say(d, "kvm", OK, NULL, "%s: QEMU's user can open it", KVM_DEVICE);
}

/* ---- the store ---- */

static void check_space(struct doctor *d)
{
	struct statvfs fs;
	char free_text[SIZE_TEXT], all_text[SIZE_TEXT];
	uint64_t free_bytes, all_bytes;

	if (fstatvfs(store_dirfd(d->view.store), &fs)) {
		say(d, "space", FAILED, NULL, "%s: %s", session_store_path(d->session),
			strerror(errno));
		return;
	}
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	all_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	size_format(free_bytes, free_text);
	size_format(all_bytes, all_text);
	if (free_bytes < FREE_BYTES_LOW || free_bytes < all_bytes / 100 * FREE_PERCENT_LOW)
		say(d, "space", WARNING, "guests pause when it is full; virsh resume goes on",
			"only %s of %s free for what clones write", free_text, all_text);
	else
		say(d, "space", OK, NULL, "%s of %s free", free_text, all_text);
}

static void judge_locks(struct doctor *d, int fd)
{
	int rc = io_lock(fd, true, 0, 1);

	if (rc)
		say(d, "locks", FAILED, "put the store on a local file system (--store DIR)",
			"the store's file system has no open-file-description locks: %s",
			strerror(-rc));
	else
		say(d, "locks", OK, NULL, "the store's file system has working locks");
}

/* A lease is asked for on a descriptor that is open for reading only. */
static void judge_leases(struct doctor *d, int fd)
{
	if (fcntl(fd, F_SETLEASE, F_RDLCK))
		say(d, "leases", WARNING,
			"bases there are protected by QEMU's locks and by checks, not at once",
			"the store's file system gives no read leases: %s", strerror(errno));
	else
		say(d, "leases", OK, NULL, "the store's file system gives read leases");
	fcntl(fd, F_SETLEASE, F_UNLCK);
}

/* On a file that has no name, or is given up at once where that cannot be. */
static void check_locks(struct doctor *d)
{
	int dirfd = store_dirfd(d->view.store);
	AUTO_CLOSE int fd = openat(dirfd, PROBE_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	AUTO_CLOSE int readfd = openat(dirfd, PROBE_NAME, O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 || readfd < 0 ? errno : 0;

	unlinkat(dirfd, PROBE_NAME, 0);
	if (rc) {
		say(d, "locks", FAILED, NULL, "%s cannot be written: %s",
			session_store_path(d->session), strerror(rc));
		return;
	}
	judge_locks(d, fd);
	close_fd(&fd); /* no lease while somebody, we too, has it open for writing */
	judge_leases(d, readfd);
}

static void check_store(struct doctor *d)
{
	if (!d->view.store) {
		say(d, "store", OK, NULL, "%s: will be made by the first clone",
			session_store_path(d->session));
		return;
	}
	say(d, "store", OK, NULL, "%s", store_path(d->view.store));
	check_space(d);
	check_locks(d);
}

/* ---- the mount ---- */

/* Each directory above the mount point must let QEMU's user through. The
 * mount point itself is judged only when it is mounted: unmounted it is
 * closed on purpose. Its root is asked by a child that may hang. */
static int find_closed(const struct doctor *d, char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int rc;

		*slash = '\0';
		rc = as_qemu(d, try_search, path);
		if (rc)
			return rc;
		*slash = '/';
	}
	return d->view.mount == MOUNT_ALIVE ? as_qemu(d, try_search, path) : 0;
}

static void check_reach(struct doctor *d)
{
	AUTO_FREE char *path = strdup(d->view.mountpoint);
	AUTO_FREE char *hint = NULL;
	int rc;

	if (!path)
		return;
	if (!may_become(d)) {
		say(d, "reach", WARNING, d->qemu_known ? "run doctor as root" : NULL,
			"whether QEMU's user reaches %s could not be checked", path);
		return;
	}
	rc = find_closed(d, path);
	if (rc == -ENOENT) {
		say(d, "reach", OK, NULL, "%s: will be made by the first clone", path);
	} else if (rc) {
		if (asprintf(&hint, "chmod o+x %s", path) < 0)
			hint = NULL;
		say(d, "reach", FAILED, hint, "QEMU's user cannot pass %s: %s", path,
			strerror(-rc));
	} else {
		say(d, "reach", OK, NULL, "QEMU's user reaches %s", path);
	}
}

static void check_daemon(struct doctor *d)
{
	if (d->view.daemon)
		say(d, "daemon", OK, NULL, "runs as process %lld",
			(long long)json_integer_value(json_object_get(d->view.daemon, "pid")));
	else if (d->view.daemon_err.code)
		say(d, "daemon", FAILED, d->view.daemon_err.hint, "%s", d->view.daemon_err.message);
	else
		say(d, "daemon", OK, NULL, "not running; clone and mount start it");
}

static void check_mount(struct doctor *d)
{
	const char *path = d->view.mountpoint;

	switch (d->view.mount) {
	case MOUNT_ALIVE:
		if (d->view.daemon)
			say(d, "mount", OK, NULL, "mounted at %s", path);
		else if (d->view.daemon_err.code)
			say(d, "mount", WARNING, NULL, "mounted at %s, by whom is not known", path);
		else
			say(d, "mount", FAILED, "lazyclone --store DIR umount",
				"%s is the mount of another store", path);
		return;
	case MOUNT_NONE:
		if (d->view.daemon)
			say(d, "mount", FAILED, "lazyclone umount; lazyclone mount",
				"the daemon runs, but nothing is mounted at %s", path);
		else
			say(d, "mount", OK, NULL, "nothing is mounted at %s", path);
		return;
	case MOUNT_DEAD:
		say(d, "mount", FAILED, "lazyclone mount", "the mount at %s is dead", path);
		return;
	case MOUNT_HUNG:
		say(d, "mount", FAILED, "end it (pgrep -a lazyclonefs), then: lazyclone mount",
			"the daemon of the mount at %s does not answer", path);
		return;
	case MOUNT_OTHER:
		say(d, "mount", FAILED, "lazyclone mount MOUNTPOINT",
			"another file system is mounted at %s", path);
		return;
	}
}

static void check_guests(struct doctor *d)
{
	const char *last = "";
	unsigned int hanging = 0;

	for (uint32_t i = 0; i < d->view.n_users; i++) {
		const struct disk_user *user = &d->view.users[i];
		AUTO_FREE char *hint = NULL;

		if (!strcmp(user->domain, last) || !view_user_hangs(&d->view, user))
			continue;
		last = user->domain;
		hanging++;
		if (asprintf(&hint, "virsh destroy %s; virsh start %s", last, last) < 0)
			hint = NULL;
		say(d, "guests", FAILED, hint, "%s hangs on disks of a daemon that is gone", last);
	}
	if (!hanging && d->view.virt)
		say(d, "guests", OK, NULL, "none hangs");
}

static void check_disks_of(struct doctor *d, const json_t *clone)
{
	const char *name = json_string_value(json_object_get(clone, "name"));
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(clone, "disks"), i, disk) {
		const char *trouble = json_string_value(json_object_get(disk, "error"));

		if (trouble && name)
			say(d, "disk", FAILED, NULL, "clone %s, disk %s: %s", name,
				json_string_value(json_object_get(disk, "target")), trouble);
	}
}

/* Disks in trouble, as the daemon says it. */
static void check_disks(struct doctor *d)
{
	const json_t *clone;
	size_t i;

	json_array_foreach(json_object_get(d->view.daemon, "clones"), i, clone)
		check_disks_of(d, clone);
}

int service_doctor(struct session *session, json_t **ret_checks, struct err *err)
{
	struct doctor d = {.session = session};
	int rc = view_load(session, &d.view, err);

	if (rc)
		return rc;
	d.checks = json_array();
	check_fuse(&d);
	check_program(&d);
	check_libvirt(&d);
	check_user(&d);
	check_kvm(&d);
	check_store(&d);
	check_daemon(&d);
	check_mount(&d);
	check_reach(&d);
	check_guests(&d);
	check_disks(&d);
	view_clear(&d.view);
	*ret_checks = d.checks;
	return 0;
}
