/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What there is: store, daemon and libvirt joined, for list, info and status.
 *
 * Works with any of the three missing; what is not known is absent or null.
 * JSON is the one form: the verbs print it, or make tables of it.
 */
#ifndef CLONE_PLAN_INVENTORY_H
#define CLONE_PLAN_INVENTORY_H

#include <jansson.h>

#include "clone/plan/session.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

#define INVENTORY_DEPTH_MAX STORE_LAYERS_MAX

/* Array, sorted by name:
 *	{"name", "id", "created": SEC,
 *	 "uuid": TEXT | null, "uri": TEXT | null, "source": TEXT | null,
 *	 "domain": its domain's present name | null,
 *	 "state":
 *	     "shut off" | "running",
 *	     "hangs"       runs on disks of a daemon that is gone
 *	     "no domain"   it was undefined behind our back
 *	     "foreign"     its domain is not what we defined
 *	     "disk only"   made by clone --disk-only
 *	     "damaged"     its manifest or record cannot be read: "error" says why
 *	     "unknown"     libvirt, or the connection it belongs to, cannot be asked
 *	 "frozen": BOOL (no clone, but an original on a delta of its own),
 *	 "hydrate": null | "copying" | "copied" | "defined",
 *	 "size_bytes", "delta_bytes" (taken in the store, layers not counted),
 *	 "quota_bytes": of delta_bytes | 0, none,
 *	 "depth": layers that reads go through, of its deepest disk,
 *	 "snapshots": [{"name", "created": SEC}], oldest first,
 *	 "error": TEXT | null, "hint": the way out | null,
 *	 "disks": [{"target", "path", "base", "reflinked": BOOL (base is a copy in the
 *	     store), "images" (chain_images()), "size_bytes", "delta_bytes", "depth", "open": BOOL, "error": TEXT | null}]} */
int inventory_list(struct session *session, json_t **ret_clones, struct err *err);

/* One element of it, by the clone's name, or its domain's name or UUID. -ENOENT.
 * With more to it:
 *	"layers": [{"id", "target", "size_bytes" of the disk, "bytes" taken,
 *	    "snapshot": TEXT | null, "needed_by": [NAMES of the other clones]}]
 * the layers of its disks, newest first. */
int inventory_info(struct session *session, const char *clone, json_t **ret_clone,
	struct err *err);

/* {"mount": "mounted" | "dead" | "hung" | "not mounted" | "other", "mountpoint", "store",
 *  "daemon": object of ctl_status | null, "daemon_error": TEXT | null,
 *  "libvirt": URI | null, "libvirt_error": TEXT | null,
 *  "hanging": [NAMES of domains], "hint": TEXT | null} */
int inventory_status(struct session *session, json_t **ret_status, struct err *err);

#endif
