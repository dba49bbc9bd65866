/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of a mount: see mount.h.
 *
 * Threads
 *	workers   receive a request, serve it inline, answer; about two per
 *	          processor. They never wait for a device, a base, a disk being
 *	          opened, or the notifications of mount_add and mount_remove.
 *	pool      serves what has to wait (pool.h), a share of threads per disk
 *	control   whoever calls mount_add and mount_remove. These send
 *	          notifications, for which the kernel takes the lock of a
 *	          directory that a LOOKUP under way holds: only workers and pool
 *	          answer that LOOKUP, so none of them may send one.
 *	starter   calls mount_start, mount_stop; wakes workers by a signal
 *
 * No lock is held while a request waits for its reply. The locks: tree.h.
 */
#include "fs/mount/mount.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/mount/channel.h"
#include "fs/mount/kernel.h"
#include "fs/mount/load.h"
#include "fs/mount/session.h"
#include "fs/util/cleanup.h"
#include "fs/util/mounts.h"

#define WORKERS_MIN 4
#define WORKERS_MAX 16
#define BUFFER_ALIGN 4096

/* Interrupts a worker's read of the next request; ignored otherwise. */
#define WAKE_SIGNAL SIGUSR2
#define WAKE_AGAIN_US 2000

struct worker {
	struct mount *mount;
	pthread_t thread;
	char *read_buffer;
	atomic_bool left;
};

static _Thread_local char *read_buffer;

char *session_read_buffer(void)
{
	return read_buffer;
}

int mount_new(const struct mount_options *options, const struct mount_backend *backend,
	struct mount **ret_mount, struct err *err)
{
	struct mount *mount = calloc(1, sizeof(*mount));
	int rc = mount ? pool_new(&mount->pool) : -ENOMEM;

	if (rc < 0) {
		free(mount);
		return err_sys(err, rc, "mount");
	}
	mount->options = *options;
	mount->backend = *backend;
	tree_init(&mount->tree);
	clock_gettime(CLOCK_REALTIME, &mount->started);
	*ret_mount = mount;
	return 0;
}

void mount_free(struct mount *mount)
{
	if (!mount)
		return;
	pool_free(mount->pool);
	tree_release(&mount->tree);
	free(mount);
}

int mount_add(struct mount *mount, const char *name, uint64_t node, int64_t created_sec,
	const struct mount_new_disk *disks, uint32_t n_disks, struct mount_clone **ret_clone,
	struct err *err)
{
	int rc = tree_add(&mount->tree, name, node, created_sec, disks, n_disks, ret_clone, err);

	/* A name that is not there is never remembered by the kernel, but how many
	 * there are is. */
	if (rc == 0 && atomic_load(&mount->serving))
		fuse_lowlevel_notify_inval_inode(mount->session, TREE_ROOT, -1, 0);
	return rc;
}

static void notify_gone(struct mount *mount, uint64_t parent, uint64_t ino, const char *name)
{
	int rc = fuse_lowlevel_notify_delete(mount->session, parent, ino, name, strlen(name));

	/* Somebody stands in it, or it is mounted on: forget at least the name. */
	if (rc < 0 && rc != -ENOENT)
		fuse_lowlevel_notify_inval_entry(mount->session, parent, name, strlen(name));
}

static int close_disks(struct mount *mount, struct mount_clone *clone)
{
	int rc = 0;

	for (uint32_t i = 0; i < clone->n_disks; i++) {
		int closed = load_close(mount, &clone->disks[i]);

		if (rc == 0)
			rc = closed;
	}
	return rc;
}

static int take_out(struct mount *mount, struct mount_clone *clone, struct err *err)
{
	struct mount_disk *busy;

	while (tree_take_out(&mount->tree, clone, &busy) < 0)
		if (!tree_wait_closed(&mount->tree, &busy->opens, MOUNT_CLOSE_WAIT_MS))
			return err_set(err, -EBUSY, "clone %s: its disk %s is open", clone->name,
				busy->name);
	return 0;
}

int mount_remove(struct mount *mount, struct mount_clone *clone, struct err *err)
{
	int rc = take_out(mount, clone, err);

	if (rc < 0)
		return rc;
	tree_wait_unpinned(clone);
	for (uint32_t i = 0; i < clone->n_disks; i++) {
		for (int lane = 0; lane < LANES; lane++)
			pool_lane_drain(mount->pool, &clone->disks[i].lane[lane]);
		if (atomic_load(&mount->serving))
			notify_gone(mount, clone->ino, clone->disks[i].ino, clone->disks[i].name);
	}
	if (atomic_load(&mount->serving))
		notify_gone(mount, TREE_ROOT, clone->ino, clone->name);
	/* Nobody has a disk of it open, so nobody awaits its last flush; what it
	 * could not keep is found when it is opened again. */
	close_disks(mount, clone);
	tree_clone_free(clone);
	return 0;
}

void mount_disk_info(struct mount_clone *clone, uint32_t i, struct mount_disk_info *ret_info)
{
	struct mount_disk *disk = &clone->disks[i];
	struct disk *opened = load_look(disk);

	*ret_info = (struct mount_disk_info){
		.opens = atomic_load(&disk->opens),
		.opened = opened,
	};
	pthread_mutex_lock(&disk->attr_lock);
	ret_info->attr = disk->attr;
	pthread_mutex_unlock(&disk->attr_lock);
	if (!opened)
		return;
	ret_info->attr.size_bytes = disk_size(opened);
	disk_delta_stats(opened, &ret_info->stats);
	load_unuse(disk);
}

/* ---- workers ---- */

static void wake(int signo)
{
}

static int receive(struct mount *mount, struct fuse_buf *buf)
{
	int rc = fuse_session_receive_buf(mount->session, buf);

	return rc == -EAGAIN ? -EINTR : rc;
}

static void *run_worker(void *arg)
{
	struct worker *worker = arg;
	struct mount *mount = worker->mount;
	struct fuse_buf buf = {0};

	read_buffer = worker->read_buffer;
	while (!atomic_load(&mount->stopping) && !fuse_session_exited(mount->session)) {
		int rc = receive(mount, &buf);

		if (rc == -EINTR)
			continue;
		if (rc <= 0)
			break;
		fuse_session_process_buf(mount->session, &buf);
	}
	free(buf.mem);
	atomic_store(&worker->left, true);
	/* The last one out with nobody having asked for it: the mount is gone. */
	if (atomic_fetch_sub(&mount->workers_running, 1) == 1 && !atomic_load(&mount->stopping))
		mount->backend.gone(mount->backend.ctx);
	return NULL;
}

static unsigned int count_workers(const struct mount *mount)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	long n = mount->options.workers ? (long)mount->options.workers : 2 * processors;

	if (n < WORKERS_MIN && !mount->options.workers)
		n = WORKERS_MIN;
	return n > WORKERS_MAX ? WORKERS_MAX : (unsigned int)n;
}

static void catch_wake_signal(void)
{
	struct sigaction action = {.sa_handler = wake}; /* no SA_RESTART: that is the point */

	sigaction(WAKE_SIGNAL, &action, NULL);
}

static int start_worker(struct mount *mount, struct worker *worker)
{
	int rc;

	worker->mount = mount;
	worker->read_buffer = aligned_alloc(BUFFER_ALIGN, DISK_IO_MAX);
	if (!worker->read_buffer)
		return -ENOMEM;
	atomic_fetch_add(&mount->workers_running, 1);
	rc = -pthread_create(&worker->thread, NULL, run_worker, worker);
	if (rc < 0) {
		atomic_fetch_sub(&mount->workers_running, 1);
		free(worker->read_buffer);
	}
	return rc;
}

/* The first one alone must answer INIT; without a second, slower is all it is. */
static int start_workers(struct mount *mount)
{
	unsigned int n = count_workers(mount);
	int rc = 0;

	catch_wake_signal();
	mount->workers = calloc(n, sizeof(*mount->workers));
	if (!mount->workers)
		return -ENOMEM;
	while (rc == 0 && mount->n_workers < n) {
		rc = start_worker(mount, &mount->workers[mount->n_workers]);
		if (rc == 0)
			mount->n_workers++;
	}
	return mount->n_workers > 0 ? 0 : rc;
}

static void stop_workers(struct mount *mount)
{
	atomic_store(&mount->stopping, true);
	for (unsigned int i = 0; i < mount->n_workers; i++) {
		struct worker *worker = &mount->workers[i];

		/* Again, as it may have looked before we asked, and read after. */
		while (!atomic_load(&worker->left)) {
			pthread_kill(worker->thread, WAKE_SIGNAL);
			usleep(WAKE_AGAIN_US);
		}
		pthread_join(worker->thread, NULL);
		free(worker->read_buffer);
	}
	free(mount->workers);
	mount->workers = NULL;
	mount->n_workers = 0;
}

/* ---- start and stop ---- */

static int open_session(struct mount *mount)
{
	char *argv[] = {(char[]){"lazyclonefs"}, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);

	mount->session = fuse_session_new(&args, &session_ops, sizeof(session_ops), mount);
	fuse_opt_free_args(&args);
	return mount->session ? 0 : -ENOMEM;
}

static void forget_mount(struct mount *mount)
{
	if (mount->dev != 0)
		kernel_unmount(mount->path, true, NULL);
	mount->dev = 0;
}

int mount_start(struct mount *mount, const char *mountpoint, struct err *err)
{
	struct mounts_entry entry;
	int fd = -1;
	int rc = open_session(mount);

	if (rc < 0)
		return err_sys(err, rc, "FUSE session");
	rc = kernel_mount(mountpoint, mount->options.source, mount->options.allow_other, &fd, err);
	if (rc == 0) {
		snprintf(mount->path, sizeof(mount->path), "%s", mountpoint);
		mount->dev = mounts_at(mountpoint, &entry) == 1 ? entry.dev : 0;
		rc = channel_attach(mount->session, fd);
		if (rc < 0)
			close(fd);
		else
			rc = start_workers(mount);
		if (rc < 0) {
			err_sys(err, rc, "serving %s", mountpoint);
			forget_mount(mount);
		}
	}
	if (rc < 0) {
		fuse_session_destroy(mount->session);
		mount->session = NULL;
		return rc;
	}
	atomic_store(&mount->serving, true);
	return 0;
}

/* Is what one finds at our mount point still our mount? */
static bool still_mounted(const struct mount *mount)
{
	struct mounts_entry entry;

	return mount->dev != 0 && mounts_at(mount->path, &entry) == 1 && entry.dev == mount->dev;
}

int mount_unmount(struct mount *mount, struct err *err)
{
	char name[2 * TREE_FILE_MAX + 2];
	int rc = 0;

	/* From here on an open is either counted or refused. */
	atomic_store(&mount->refusing, true);
	if (!tree_wait_closed(&mount->tree, &mount->tree.opens, MOUNT_CLOSE_WAIT_MS) &&
		tree_any_open(&mount->tree, name, sizeof(name)))
		rc = err_set(err, -EBUSY, "mount %s: %s is open", mount->path, name);
	if (rc == 0 && still_mounted(mount))
		rc = kernel_unmount(mount->path, false, err);
	if (rc < 0) {
		atomic_store(&mount->refusing, false);
		return rc;
	}
	mount->dev = 0;
	return 0;
}

void mount_detach(struct mount *mount)
{
	atomic_store(&mount->refusing, true);
	if (still_mounted(mount))
		kernel_unmount(mount->path, true, NULL);
	mount->dev = 0;
}

int mount_stop(struct mount *mount)
{
	int rc = 0;

	atomic_store(&mount->serving, false);
	stop_workers(mount);
	pool_drain(mount->pool);
	for (uint32_t i = 0; i < mount->tree.n_slots; i++) {
		int closed = close_disks(mount, mount->tree.slots[i].clone);

		if (rc == 0)
			rc = closed;
	}
	if (mount->session)
		fuse_session_destroy(mount->session);
	mount->session = NULL;
	return rc;
}
