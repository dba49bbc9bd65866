/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making clones: plan, steps, journal, undo.
 *
 * One clone, step by step; the journal names a thing before it is made:
 *
 *	1 reflink the originals into the store where that can be (reflink.h);
 *	  hold the bases (daemon: locks and lease)   ends with the connection;
 *	  of a source that is a clone, what it wrote is frozen (stacked.h)
 *	2 stage: deltas, manifest, record, pristine NVRAM, all durable
 *	3 commit the stage: the clone is in the store
 *	4 attach: its disks are on the mount
 *	5 copy the NVRAM to where libvirt keeps it
 *	6 define the domain, read it back, compare
 *	7 journal done
 *
 * 2 to 7 are done for each clone of a run, 1 once.
 *
 * A failure, SIGINT or SIGTERM undoes what the journal lists, in reverse; a
 * killed run is undone by session_recover().
 */
#ifndef CLONE_PLAN_CLONE_H
#define CLONE_PLAN_CLONE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "clone/plan/origin.h"
#include "clone/plan/session.h"
#include "fs/util/err.h"

#define CLONE_COUNT_MAX 10000

struct clone_options {
	const char *source;    /* domain: name, UUID or id */
	const char *disk_only; /* image path instead of a domain */
	const char *name;      /* NULL: SOURCE-cloneN, first free */
	uint32_t count;        /* 1: one clone called name; more: NAME1 ... NAMEN */
	const char *snapshot; /* of a source that is a clone: clone that instant; or NULL */
	uint64_t quota_bytes; /* of each; 0: none */
	/* Files that the source's images may use (allowed.h). */
	uint32_t n_backings, n_data_files;
	const char *const *backings, *const *data_files;
	/* With disk_only. */
	const char *format;         /* "raw", "qcow2"; NULL: see origin.h */
	const char *image_snapshot; /* of a qcow2 image, by id or name; or NULL */
	enum origin_base base;
	bool all_or_none;
	bool start;
	bool dry_run;   /* make nothing; results say what would be made */
	bool print_xml; /* make nothing; results carry the XML */
};

struct clone_disk_result {
	char *target;
	char *path; /* on the mount */
	char *original; /* path of the image that was cloned */
	char *base;     /* path of what the clone reads: the original, or its copy in the store */
	bool copied;
	uint64_t size_bytes;
	json_t *images; /* of the base (chain_images()) */
};

struct clone_result {
	char *name;
	char *uuid; /* NULL for disk_only */
	char *xml;  /* print_xml and dry_run; as it was defined otherwise */
	char **changes; /* lines, NULL-terminated */
	uint32_t n_disks;
	struct clone_disk_result *disks;
	uint64_t store_ns; /* time of the store part: steps 2 and 3 */
	uint64_t total_ns;
	bool started;
	struct err err; /* err.code 0: whole. Else not made, or (made, not started) */
	bool made;
};

/* 0: all made. -EREMOTEIO: some (table in results). Otherwise none, as err
 * says. *ret_results is set in the first two cases; free with clone_results_free. */
int clone_make(struct session *session, const struct clone_options *options,
	struct clone_result **ret_results, uint32_t *ret_count, struct err *err);
void clone_results_free(struct clone_result *results, uint32_t count);

#endif
