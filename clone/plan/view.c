/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One look at store, daemon and libvirt: see view.h. */
#include "clone/plan/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/ctl.h"

static void load_daemon(struct view *view)
{
	struct ctl *ctl;
	int rc;

	rc = ctl_connect(store_id(view->store), &ctl, &view->daemon_err);
	if (!rc) {
		rc = ctl_status(ctl, &view->daemon, &view->daemon_err);
		ctl_close(ctl);
	}
	if (rc == -ECONNREFUSED)
		view->daemon_err.code = 0;
}

static int set_mountpoint(struct view *view, const char *mountpoint, struct err *err)
{
	free(view->mountpoint);
	view->mountpoint = strdup(mountpoint);
	if (!view->mountpoint)
		return err_sys(err, -ENOMEM, "looking at the mount");
	view->mount = service_mount_state(mountpoint);
	return 0;
}

/* The mount first: when its daemon hangs, its socket would keep us waiting too. */
static int load_service(struct session *session, struct view *view, struct err *err)
{
	const char *named;
	int rc = set_mountpoint(view, session_mountpoint(session), err);

	if (rc || !view->store)
		return rc;
	if (view->mount == MOUNT_HUNG) {
		err_set(&view->daemon_err, -ETIMEDOUT, "the daemon of %s does not answer",
			view->mountpoint);
		return 0;
	}
	load_daemon(view);
	named = json_string_value(json_object_get(view->daemon, "mountpoint"));
	return named && strcmp(named, view->mountpoint) ? set_mountpoint(view, named, err) : 0;
}

static int load_domains(struct session *session, struct view *view, struct err *err)
{
	struct virt *virt;
	int rc;

	if (session_need_virt(session, &virt, &view->virt_err) ||
		virt_list(virt, &view->domains, &view->n_domains, &view->virt_err))
		return 0;
	view->virt = virt;
	rc = users_find(view->domains, view->n_domains, view->mountpoint, &view->users,
		&view->n_users);
	return rc ? err_sys(err, rc, "looking for the users of the disks") : 0;
}

int view_load(struct session *session, struct view *ret_view, struct err *err)
{
	struct view view = {.store = NULL};
	int rc;

	rc = session_need_store(session, false, &view.store, err);
	if (rc && rc != -ENOENT)
		return rc;
	rc = load_service(session, &view, err);
	if (!rc)
		rc = load_domains(session, &view, err);
	if (rc)
		view_clear(&view);
	else
		*ret_view = view;
	return rc;
}

void view_clear(struct view *view)
{
	users_free(view->users, view->n_users);
	virt_list_free(view->domains, view->n_domains);
	json_decref(view->daemon);
	free(view->mountpoint);
	memset(view, 0, sizeof(*view));
}

const struct virt_domain *view_domain(const struct view *view, const char *uuid)
{
	for (uint32_t i = 0; i < view->n_domains; i++)
		if (!strcmp(view->domains[i].uuid, uuid))
			return &view->domains[i];
	return NULL;
}

/* The element of an array of objects whose member key says value. */
static const json_t *find_object(const json_t *array, const char *key, const char *value)
{
	const json_t *object;
	size_t i;

	json_array_foreach(array, i, object) {
		const char *text = json_string_value(json_object_get(object, key));

		if (text && !strcmp(text, value))
			return object;
	}
	return NULL;
}

const json_t *view_disk(const struct view *view, const char *clone, const char *target)
{
	const json_t *shown;

	shown = find_object(json_object_get(view->daemon, "clones"), "name", clone);
	return find_object(json_object_get(shown, "disks"), "target", target);
}

bool view_user_hangs(const struct view *view, const struct disk_user *user)
{
	const json_t *disk;

	if (view->mount != MOUNT_ALIVE)
		return true;
	if (!view->daemon)
		return false; /* the mount answers, but we may not ask its daemon */
	disk = view_disk(view, user->clone, user->target);
	return !json_integer_value(json_object_get(disk, "opens"));
}

const struct disk_user *view_user(const struct view *view, const char *clone)
{
	const struct disk_user *found = NULL;

	for (uint32_t i = 0; i < view->n_users; i++) {
		const struct disk_user *user = &view->users[i];

		if (strcmp(user->clone, clone))
			continue;
		if (view_user_hangs(view, user))
			return user;
		found = user;
	}
	return found;
}
