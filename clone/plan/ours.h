/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A clone of ours by name: what the store, its record and libvirt say, agreeing.
 *
 * Ours is a domain whose metadata names its own UUID and whose record in the
 * store names the same UUID and connection. Anything else is foreign and is
 * neither destroyed nor undefined nor redefined. The one exception: a domain
 * that hydrate has just defined carries no mark any more; it is known by the
 * UUID and the images that the record names.
 *
 * A frozen original (freeze.h) is found here too; its mark and its record say so.
 */
#ifndef CLONE_PLAN_OURS_H
#define CLONE_PLAN_OURS_H

#include <stdbool.h>

#include "clone/plan/session.h"
#include "clone/state/record.h"
#include "clone/virt/virt.h"
#include "fs/ctl/ctl.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

struct ours {
	struct store *store; /* the session's */
	struct virt *virt;   /* the session's; NULL for --disk-only */
	struct manifest *manifest;
	struct record *record;
	struct virt_domain domain; /* name NULL: disk-only, or undefined by hand */
	bool hydrated; /* the domain is defined on its full images already */
	int dirfd;     /* clones/NAME */
	int lock_fd;   /* -1: for reading only */
};

/* clone: its name in the store, else name, UUID or id of its domain.
 * -ENOENT: no such clone. -EPERM: a domain of that name, or with that UUID,
 * is not ours. *ret_ours needs ours_clear only after success.
 *
 * ours_find only looks. ours_take is for who is going to change it: -EBUSY
 * while another command holds it, or a killed reset of it is not settled.
 * ours_hold: for who settles that, or lets it be. */
int ours_find(struct session *session, const char *clone, struct ours *ret_ours, struct err *err);
int ours_take(struct session *session, const char *clone, struct ours *ret_ours, struct err *err);
int ours_hold(struct session *session, const char *clone, struct ours *ret_ours, struct err *err);
void ours_clear(struct ours *ours);

/* Look at the domain again. */
int ours_refresh(struct ours *ours, struct err *err);

/* Read the manifest again: the daemon has changed it. */
int ours_reread(struct ours *ours, struct err *err);

/* Has the domain the NVRAM file that was made for it? */
bool ours_has_nvram(const struct ours *ours);

/* Hydrated, or without its domain: refused, in these words. */
int ours_check_usable(const struct ours *ours, struct err *err);

/* The verb that gives it full images: "hydrate" or "base thaw". */
const char *ours_way_out(const struct ours *ours);

/* A frozen original (freeze.h) is -EBUSY; not what is left of one whose domain is gone. */
int ours_refuse_frozen(const struct ours *ours, struct err *err);

/* A running domain is -EBUSY, or powered off with force. */
int ours_power_off(struct ours *ours, bool force, struct err *err);

/* Held as long as a command changes the clone; made with it, so that removing
 * one from a full file system needs no room. */
#define OURS_LOCK_NAME "lock" /* in the clone's directory */

/* Take it: of the directory of the clone called name. -EBUSY: another command
 * has it; -ENOENT: it was removed just now. Held until *ret_fd is closed. */
int ours_lock(struct store *store, int dirfd, const char *name, int *ret_fd, struct err *err);

/* Let the daemon hide its disks: hide_clone(). */
int ours_hide(const struct ours *ours, struct ctl *ctl, struct err *err);

/* Show them again, should a killed command have hidden them. */
int ours_show(const struct ours *ours, struct ctl *ctl, struct err *err);

#endif
