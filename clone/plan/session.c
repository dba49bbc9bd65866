/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opened on first need: store, daemon, libvirt: see session.h. */
#include "clone/plan/session.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "clone/plan/place.h"
#include "clone/plan/service.h"
#include "clone/state/paths.h"
#include "clone/state/stores.h"
#include "clone/virt/virt.h"
#include "fs/ctl/ctl.h"
#include "fs/store/store.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/mounts.h"

#define NOTICE_MAX 1024

struct session {
	struct session_options options;
	char *uri; /* --connect, or NULL */
	char *store_path;
	char *mountpoint;
	struct store *store;
	struct ctl *ctl;
	bool mount_checked;
	struct virt *virt;  /* as --connect or libvirt says */
	struct virt *other; /* as the last record said, where that differs */
};

int session_open(const struct session_options *options, struct session **ret_session,
	struct err *err)
{
	struct session *session = calloc(1, sizeof(*session));
	int rc;

	if (!session)
		return err_sys(err, -ENOMEM, "cannot begin");
	session->options = *options;
	rc = paths_store(options->store, &session->store_path, err);
	if (rc == 0)
		rc = paths_mountpoint(session->store_path, &session->mountpoint, err);
	if (rc == 0 && options->uri && !(session->uri = strdup(options->uri)))
		rc = err_sys(err, -ENOMEM, "cannot begin");
	if (rc < 0) {
		session_close(session);
		return rc;
	}
	*ret_session = session;
	return 0;
}

void session_close(struct session *session)
{
	if (!session)
		return;
	virt_close(session->other);
	virt_close(session->virt);
	ctl_close(session->ctl);
	store_close(session->store);
	free(session->mountpoint);
	free(session->store_path);
	free(session->uri);
	free(session);
}

const char *session_store_path(const struct session *session)
{
	return session->store_path;
}

const char *session_mountpoint(const struct session *session)
{
	return session->mountpoint;
}

void session_notice(struct session *session, const char *fmt, ...)
{
	char text[NOTICE_MAX];
	va_list ap;

	if (!session->options.notice || session->options.quiet)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	session->options.notice(session->options.notice_ctx, text);
}

static int replace_text(char **text, const char *with, struct err *err)
{
	char *copy = strdup(with);

	if (!copy)
		return err_sys(err, -ENOMEM, "%s", with);
	free(*text);
	*text = copy;
	return 0;
}

/* The store's canonical path, and the mount point that follows from it. */
static int settle_paths(struct session *session, struct store *store, struct err *err)
{
	char *mountpoint;
	int rc = replace_text(&session->store_path, store_path(store), err);

	if (rc == 0)
		rc = paths_mountpoint(session->store_path, &mountpoint, err);
	if (rc < 0)
		return rc;
	free(session->mountpoint);
	session->mountpoint = mountpoint;
	return 0;
}

int session_need_store(struct session *session, bool create, struct store **ret_store,
	struct err *err)
{
	struct store *store;
	int rc;

	if (session->store) {
		*ret_store = session->store;
		return 0;
	}
	rc = store_open(&io_kernel, session->store_path, &store, err);
	if (rc == -ENOENT && create) {
		rc = store_create(&io_kernel, session->store_path, err);
		if (rc == 0)
			rc = store_open(&io_kernel, session->store_path, &store, err);
	}
	if (rc == -ENOENT) {
		err_set(err, rc, "there is no store at %s", session->store_path);
		err_hint(err, "the first clone makes it; another one is named by --store");
	}
	if (rc < 0)
		return rc;
	rc = settle_paths(session, store, err);
	if (rc < 0) {
		store_close(store);
		return rc;
	}
	session->store = store;
	*ret_store = store;
	/* Who makes clones insists; here it is for stores that are older than the
	 * register, or were moved. */
	if (create)
		stores_note(store_id(store), store_path(store), NULL);
	return 0;
}

static int connect_daemon(struct session *session, struct err *err)
{
	struct store *store;
	int rc;

	if (session->ctl)
		return 0;
	rc = session_need_store(session, false, &store, err);
	return rc < 0 ? rc : ctl_connect(store_id(store), &session->ctl, err);
}

int session_daemon_if_up(struct session *session, struct ctl **ret_ctl, struct err *err)
{
	int rc = connect_daemon(session, err);

	if (rc < 0 && rc != -ECONNREFUSED)
		return rc;
	*ret_ctl = session->ctl;
	return 0;
}

/* The kernel's table says whose mount it is: cheaper than the daemon's whole status. */
static bool mounted_at(const struct session *session, const char *mountpoint)
{
	char path[PATH_MAX];
	struct mounts_entry entry;

	return mounts_canonical(mountpoint, path) == 0 && mounts_at(path, &entry) > 0 &&
		strcmp(entry.type, PLACE_MOUNT_TYPE) == 0 &&
		strcmp(entry.source, session->store_path) == 0;
}

/* The daemon knows best where it is mounted (by hand, by fstab). */
static int ask_mountpoint(struct session *session, struct err *err)
{
	json_t *status = NULL;
	int rc = ctl_status(session->ctl, &status, err);
	const char *path;

	if (rc < 0)
		return rc;
	path = json_string_value(json_object_get(status, "mountpoint"));
	rc = path ? replace_text(&session->mountpoint, path, err)
		  : err_set(err, -EIO, "the daemon does not say where it is mounted");
	json_decref(status);
	return rc;
}

static int check_mount(struct session *session, struct err *err)
{
	int rc = 0;

	if (session->mount_checked)
		return 0;
	if (!mounted_at(session, session->mountpoint))
		rc = ask_mountpoint(session, err);
	if (rc < 0)
		return rc;
	if (service_mount_state(session->mountpoint) != MOUNT_ALIVE) {
		err_set(err, -ENOTCONN, "the daemon runs, but its mount at %s does not answer",
			session->mountpoint);
		err_hint(err, "lazyclone status");
		return -ENOTCONN;
	}
	session->mount_checked = true;
	return 0;
}

int session_need_daemon(struct session *session, bool start, struct ctl **ret_ctl,
	struct err *err)
{
	struct store *store;
	int rc = session_need_store(session, start, &store, err);

	if (rc == 0)
		rc = connect_daemon(session, err);
	if (rc == -ECONNREFUSED && start) {
		rc = service_mount(session, NULL, err);
		if (rc == 0)
			rc = connect_daemon(session, err);
	}
	if (rc == 0)
		rc = check_mount(session, err);
	if (rc < 0)
		return rc;
	*ret_ctl = session->ctl;
	return 0;
}

int session_need_virt(struct session *session, struct virt **ret_virt, struct err *err)
{
	int rc = session->virt ? 0 : virt_connect(session->uri, &session->virt, err);

	if (rc < 0)
		return rc;
	*ret_virt = session->virt;
	return 0;
}

int session_virt_at(struct session *session, const char *uri, struct virt **ret_virt,
	struct err *err)
{
	int rc = 0;

	if (session->virt && strcmp(virt_uri(session->virt), uri) == 0) {
		*ret_virt = session->virt;
		return 0;
	}
	if (session->other && strcmp(virt_uri(session->other), uri) != 0) {
		virt_close(session->other);
		session->other = NULL;
	}
	if (!session->other)
		rc = virt_connect(uri, &session->other, err);
	if (rc < 0)
		return rc;
	*ret_virt = session->other;
	return 0;
}
