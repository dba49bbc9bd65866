/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One clone being made: what it will be, and the steps that make it (clone.h lists them).
 *
 *	making_plan    pure: names, manifest, record, XML; nothing is made
 *	making_run     the steps, under the run's journal; a step that fails is
 *	               left for undo_run() with all before it
 *	making_clear
 */
#ifndef CLONE_PLAN_MAKING_H
#define CLONE_PLAN_MAKING_H

#include <stdbool.h>
#include <stdint.h>

#include "clone/plan/census.h"
#include "clone/plan/origin.h"
#include "clone/state/journal.h"
#include "clone/state/record.h"
#include "fs/store/store.h"

struct making {
	/* The run's; all but origin and mountpoint may be NULL while planning. */
	const struct origin *origin;
	struct store *store;
	struct ctl *ctl;
	struct virt *virt; /* NULL: no domain */
	struct journal *journal;
	const char *store_path;
	const char *mountpoint;
	uint64_t quota_bytes; /* 0: none */
	bool freeze; /* no new machine: the original itself gets the disks (freeze.h) */

	/* This clone's. */
	char *name;
	char uuid[VIRT_UUID_TEXT];
	char **paths; /* of its disks, as many as the origin's */
	char (*macs)[XML_MAC_TEXT];
	char *nvram;
	struct xml_new_disk *new_disks; /* point into origin and paths */
	struct xml_request request;
	struct manifest *manifest;
	struct record *record;
	struct store_stage *stage; /* between staging and commit */
	int lock_fd; /* on the clone's lock, so that no other command takes it half made; -1 */
	char *xml;     /* as asked for; as defined once it is */
	char **changes;
	uint64_t store_ns;
};

/* name is taken over, whatever is returned. */
int making_plan(struct making *making, char *name, struct census *census, struct err *err);
int making_run(struct making *making, struct err *err);
void making_clear(struct making *making);

#endif
