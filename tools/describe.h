/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store as one JSON document: its clones, disks, snapshots and layers, and what they take.
 *
 *	{"store": PATH, "id": ID, "served": BOOL,
 *	 "clones": [{"name", "id", "created": SEC, "quota_bytes": N, "error": TEXT | null,
 *	    "disks": [{"target", "base": PATH, "base_limit_bytes", "layers": [ID], DELTA}],
 *	    "snapshots": [{"name", "created": SEC}]}],
 *	 "layers": [{"users": [NAME], DELTA}]}
 *
 * DELTA, of a disk's delta and of a layer:
 *
 *	"log": ID, "size_bytes", "state": "clean" | "unclean" | "layer" | "in use" | "damaged",
 *	"error": TEXT | null, "host": ID | null (whose daemon wrote last),
 *	"log_bytes" (allocated), "used_bytes", "free_bytes" (of slots),
 *	"live_bytes", "data_blocks", "replay_bytes" (read by opening it; null: not known),
 *	"checkpoint_lsn" | null, "checkpoint_bytes" | null
 *
 * Nothing is locked or written. What a daemon has in its hands may be moving:
 * its deltas are not opened, and live_bytes, data_blocks and replay_bytes null.
 */
#ifndef TOOLS_DESCRIBE_H
#define TOOLS_DESCRIBE_H

#include <jansson.h>

#include "fs/store/store.h"

/* clone NULL: all; target NULL: all its disks. *ret_document is the caller's. */
int describe_store(struct store *store, const char *clone, const char *target,
	json_t **ret_document, struct err *err);

#endif
