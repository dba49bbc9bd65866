/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's life: see daemon.h. */
#include "fs/daemon/daemon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/vfs.h>
#include <syslog.h>
#include <time.h>

#include "fs/daemon/process.h"
#include "fs/daemon/usage.h"
#include "fs/daemon/verbs.h"
#include "fs/daemon/trouble.h"
#include "fs/util/cleanup.h"

enum reason {
	REASON_SIGNAL, /* stop, whatever is open */
	REASON_ASKED,  /* unmounted already */
	REASON_GONE,   /* somebody unmounted it, or aborted the connection */
};

/* ---- start ---- */

static int open_events(struct daemon *daemon, struct err *err)
{
	sigset_t signals;

	/* Before any other thread runs: they inherit the mask. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	daemon->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	daemon->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (daemon->signal_fd < 0 || daemon->wake_fd < 0)
		return err_sys(err, -errno, "signals");
	return 0;
}

static int open_store(struct daemon *daemon, struct err *err)
{
	int rc = store_open(&io_kernel, daemon->options->store, &daemon->store, err);

	if (rc == 0)
		rc = store_lock(daemon->store, err);
	if (rc == 0)
		rc = store_sweep(daemon->store, err);
	if (rc == 0)
		rc = space_pool_open(NULL, store_dirfd(daemon->store),
			daemon->options->quota_bytes, &daemon->pool, err);
	return rc;
}

static void mount_gone(void *ctx)
{
	struct daemon *daemon = ctx;

	eventfd_write(daemon->wake_fd, 1);
}

static void tell_space(void *ctx, void *disk_ctx, struct mount_space *ret_space)
{
	struct daemon *daemon = ctx;

	usage_space(&daemon->table, disk_ctx, ret_space);
}

static int make_mount(struct daemon *daemon, struct err *err)
{
	const struct mount_options options = {
		.source = store_path(daemon->store),
		.allow_other = daemon->options->allow_other,
		.statfs_fd = store_dirfd(daemon->store),
		.workers = daemon->options->workers,
	};
	const struct mount_backend backend = {
		.open = attach_open_disk,
		.close = attach_close_disk,
		.drop = attach_drop_disk,
		.space = tell_space,
		.keep = attach_keep_attr,
		.gone = mount_gone,
		.ctx = daemon,
	};
	int rc = mount_new(&options, &backend, &daemon->mount, err);

	if (rc == 0 && table_init(&daemon->table, daemon->store, daemon->mount,
			       daemon->options->force_takeover) < 0)
		rc = err_sys(err, -ENOMEM, "table of clones");
	daemon->table.pool = daemon->pool;
	daemon->table.clone_quota_bytes = daemon->options->clone_quota_bytes;
	return rc;
}

/* Whoever connects meanwhile is answered when all of it is there. */
static int open_to_the_world(struct daemon *daemon, struct err *err)
{
	int rc;

	pthread_rwlock_wrlock(&daemon->admission);
	rc = ctl_server_start(store_id(daemon->store), &verbs_ops, daemon, &daemon->server, err);
	if (rc == 0)
		rc = mount_start(daemon->mount, daemon->point.path, err);
	if (rc == 0)
		mountpoint_guard(&daemon->point);
	pthread_rwlock_unlock(&daemon->admission);
	return rc;
}

static uint64_t layers_bytes(void *ctx)
{
	struct daemon *daemon = ctx;

	return layer_pool_index_bytes(daemon->table.layers);
}

static void look_at_bases(void *ctx)
{
	struct daemon *daemon = ctx;

	trouble_watch(&daemon->table);
}

static int start_keeper(struct daemon *daemon, struct err *err)
{
	const struct options *from = daemon->options;
	const struct keeper_options options = {
		.idle_sec = from->idle_sec,
		.memory_bytes = from->memory_bytes,
		.clean = from->clean,
		.clean_rate_bytes = from->clean_rate_bytes,
	};
	const struct keeper_backend backend = {
		.of = attach_keeping,
		.name = attach_name,
		.shared_bytes = layers_bytes,
		.look = look_at_bases,
		.ctx = daemon,
	};

	return keeper_start(&options, &backend, daemon->mount, daemon->pool, &daemon->keeper, err);
}

static int start(struct daemon *daemon, struct err *err)
{
	int rc = open_events(daemon, err);

	if (rc == 0)
		rc = open_store(daemon, err);
	if (rc == 0)
		rc = mountpoint_prepare(daemon->options->mountpoint, store_path(daemon->store),
			&daemon->point, err);
	if (rc == 0)
		rc = make_mount(daemon, err);
	if (rc == 0)
		rc = table_attach_all(&daemon->table, err);
	if (rc == 0)
		rc = start_keeper(daemon, err);
	if (rc == 0)
		rc = open_to_the_world(daemon, err);
	return rc;
}

/* ---- asked to stop ---- */

int daemon_ask_stop(struct daemon *daemon, struct err *err)
{
	struct stop *stop = &daemon->stop;
	unsigned int mine;
	SCOPED_LOCK(&stop->lock);

	mine = ++stop->asked;
	eventfd_write(daemon->wake_fd, 1);
	while (!stop->over && (int)(stop->answered - mine) < 0)
		pthread_cond_wait(&stop->answered_more, &stop->lock);
	if (stop->rc < 0) {
		err_set(err, stop->rc, "%s", stop->err.message);
		if (stop->err.hint[0])
			err_hint(err, "%s", stop->err.hint);
	}
	return stop->rc;
}

static void answer_stop(struct daemon *daemon, unsigned int answered, bool over, int rc,
	const struct err *err)
{
	struct stop *stop = &daemon->stop;
	SCOPED_LOCK(&stop->lock);

	stop->answered = answered;
	stop->over = over;
	stop->rc = rc;
	stop->err = *err;
	pthread_cond_broadcast(&stop->answered_more);
}

/* Try what was asked for; true: it is unmounted. */
static bool try_stop(struct daemon *daemon, unsigned int asked)
{
	struct err err = {0};
	int rc = mount_unmount(daemon->mount, &err);

	if (rc < 0)
		answer_stop(daemon, asked, false, rc, &err);
	return rc == 0;
}

static unsigned int asked_to_stop(struct daemon *daemon, bool *ret_open)
{
	SCOPED_LOCK(&daemon->stop.lock);

	*ret_open = daemon->stop.asked != daemon->stop.answered;
	return daemon->stop.asked;
}

static enum reason wait_for_reason(struct daemon *daemon)
{
	struct pollfd pfd[2] = {
		{.fd = daemon->signal_fd, .events = POLLIN},
		{.fd = daemon->wake_fd, .events = POLLIN},
	};
	unsigned int asked;
	eventfd_t count;
	bool open;

	for (;;) {
		if (poll(pfd, 2, -1) < 0)
			continue;
		if (pfd[0].revents)
			return REASON_SIGNAL;
		if (!pfd[1].revents || eventfd_read(daemon->wake_fd, &count) < 0)
			continue;
		asked = asked_to_stop(daemon, &open);
		if (!open)
			return REASON_GONE;
		if (try_stop(daemon, asked))
			return REASON_ASKED;
	}
}

/* ---- stop ---- */

static void end_verbs(struct daemon *daemon)
{
	pthread_rwlock_wrlock(&daemon->admission);
	daemon->closed = true;
	pthread_rwlock_unlock(&daemon->admission);
}

/* Also undoes a start that went only part of the way. */
static int stop(struct daemon *daemon)
{
	const struct err none = {0};
	int rc = 0;

	end_verbs(daemon);
	if (daemon->mount) {
		mount_detach(daemon->mount);
		keeper_stop(daemon->keeper);
		rc = mount_stop(daemon->mount);
		table_detach_all(&daemon->table);
		mount_free(daemon->mount);
		table_release(&daemon->table);
	}
	ctl_server_close(daemon->server);
	space_pool_close(daemon->pool);
	store_close(daemon->store);
	answer_stop(daemon, daemon->stop.asked, true, 0, &none);
	ctl_server_stop(daemon->server);
	mountpoint_release(&daemon->point);
	close_fd(&daemon->signal_fd);
	close_fd(&daemon->wake_fd);
	return rc;
}

static void init(struct daemon *daemon, const struct options *options)
{
	*daemon = (struct daemon){
		.options = options,
		.point.fd = -1,
		.signal_fd = -1,
		.wake_fd = -1,
		.started_sec = time(NULL),
	};
	pthread_rwlock_init(&daemon->admission, NULL);
	pthread_mutex_init(&daemon->stop.lock, NULL);
	pthread_cond_init(&daemon->stop.answered_more, NULL);
}

static void release(struct daemon *daemon)
{
	pthread_cond_destroy(&daemon->stop.answered_more);
	pthread_mutex_destroy(&daemon->stop.lock);
	pthread_rwlock_destroy(&daemon->admission);
}

int daemon_run(const struct options *options, int ready_fd, struct err *err)
{
	struct daemon daemon;
	int rc;

	init(&daemon, options);
	rc = start(&daemon, err);
	if (rc < 0) {
		stop(&daemon);
		process_report(ready_fd, rc, err);
	} else {
		syslog(LOG_INFO, "serving %s at %s", store_path(daemon.store), daemon.point.path);
		process_report(ready_fd, 0, err);
		if (wait_for_reason(&daemon) == REASON_GONE)
			syslog(LOG_NOTICE, "%s was unmounted", daemon.point.path);
		process_notify("STOPPING=1");
		rc = stop(&daemon);
		if (rc < 0)
			err_sys(err, rc, "last flush");
	}
	release(&daemon);
	return rc;
}
