/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What there is: store, daemon and libvirt joined, for list, info and status.
 *
 * Works with any of the three missing; what is not known is absent. JSON is
 * the one form: the verbs print it, or make tables of it.
 */
#ifndef CLONE_PLAN_INVENTORY_H
#define CLONE_PLAN_INVENTORY_H

#include <jansson.h>

#include "clone/plan/session.h"
#include "fs/util/err.h"

/* Array, sorted by name:
 *	{"name", "id", "created": SEC,
 *	 "uuid": TEXT | null, "uri": TEXT | null, "source": TEXT | null,
 *	 "state": "shut off" | "running" | "no domain" | "disk only" | "foreign" | "unknown" |
 *	     "hangs",   (runs on disks of a daemon that is gone)
 *	 "hydrate": null | "copying" | "copied" | "defined",
 *	 "size_bytes", "delta_bytes",
 *	 "disks": [{"target", "path", "base", "size_bytes", "delta_bytes", "open": BOOL,
 *	     "error": TEXT | null}]} */
int inventory_list(struct session *session, json_t **ret_clones, struct err *err);

/* One element of it. -ENOENT. */
int inventory_info(struct session *session, const char *clone, json_t **ret_clone,
	struct err *err);

/* {"mount": "mounted" | "dead" | "not mounted", "mountpoint", "store",
 *  "daemon": object of ctl_status | null, "hanging": [NAMES], "hint": TEXT | null} */
int inventory_status(struct session *session, json_t **ret_status, struct err *err);

#endif
