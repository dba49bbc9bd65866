/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One look at store, daemon and libvirt: what is known of each at this moment. */
#ifndef CLONE_PLAN_VIEW_H
#define CLONE_PLAN_VIEW_H

#include <jansson.h>
#include <stdbool.h>

#include "clone/plan/service.h"
#include "clone/plan/session.h"
#include "clone/plan/users.h"
#include "clone/virt/virt.h"
#include "fs/store/store.h"

struct view {
	struct store *store; /* NULL: there is none yet */
	char *mountpoint;    /* the daemon's, else where it would be */
	enum mount_state mount;
	json_t *daemon;         /* as ctl_status says; NULL: not reachable */
	struct err daemon_err;  /* why, when it is not simply not running */
	struct virt *virt;      /* NULL: not reachable; the session's */
	struct err virt_err;
	struct virt_domain *domains;
	uint32_t n_domains;
	struct disk_user *users; /* running domains on disks of the mount */
	uint32_t n_users;
};

/* Fails only when the store is there and is not ours, damaged or forbidden. */
int view_load(struct session *session, struct view *ret_view, struct err *err);
void view_clear(struct view *view);

const struct virt_domain *view_domain(const struct view *view, const char *uuid);

/* What the daemon says of a disk; NULL if it does not show it. */
const json_t *view_disk(const struct view *view, const char *clone, const char *target);

/* Does it run on a disk that no daemon serves to it any more? True for a
 * mount that is gone and for a daemon that was restarted: the guest's open
 * file died with the old one. */
bool view_user_hangs(const struct view *view, const struct disk_user *user);

/* The running user of a clone's disks that hangs, else any; NULL: none. */
const struct disk_user *view_user(const struct view *view, const char *clone);

#endif
