/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A clone's record: which domain it belongs to and what hydrate must put back.
 *
 * STORE/clones/NAME/record.json, written before the clone is committed, and
 * again (published by rename) when hydrate moves on. The domain's metadata
 * and the record must name the same UUID and connection, or the domain is
 * foreign. `clone --disk-only` has a record without a domain.
 *
 * A frozen original's record is that of a clone whose domain is the original:
 * frozen is true, source_uuid its own. RECORD_ORIGINAL is its definition before.
 */
#ifndef CLONE_STATE_RECORD_H
#define CLONE_STATE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/util/err.h"

#define RECORD_NAME "record.json"
#define RECORD_NVRAM "nvram.pristine" /* copy of the source's NVRAM at cloning */
#define RECORD_ORIGINAL "original.xml" /* of a frozen original: what it was defined as */
#define RECORD_BYTES_MAX (4u << 20) /* 256 disks, each four paths and a <driver> text */
#define RECORD_DISKS_MAX 256
#define RECORD_TEXT_MAX 4095 /* each path, name or <driver> text */

enum record_phase {
	RECORD_CLONE,    /* an ordinary clone */
	RECORD_COPYING,  /* hydrate: full images are being written */
	RECORD_COPIED,   /* all images whole, durable, at their final names */
	RECORD_DEFINED,  /* the domain is defined on them: the delta may go */
};

struct record_disk {
	char *target;
	char *source; /* the original image's path */
	char *driver; /* the original <driver> element as text, or NULL */
	/* hydrate: */
	char *image;  /* final path of the full image, NULL before */
	char *temp;   /* its temporary name beside it */
	uint64_t temp_ino; /* inode of the temporary file this hydrate created, 0 none */
};

struct record {
	char *uri;    /* connection; NULL for --disk-only */
	char *uuid;   /* of the domain; NULL for --disk-only */
	char *source_name;
	char *source_uuid;
	char *nvram;  /* path where libvirt keeps the clone's NVRAM, or NULL */
	bool frozen;  /* no clone: the original, moved on to a delta of its own */
	int64_t created_sec;
	enum record_phase phase;
	uint32_t n_disks;
	struct record_disk *disks;
};

void record_free(struct record *record); /* NULL allowed */

/* dirfd: the clone's directory. Replaces the record; durable when it returns. */
int record_write(int dirfd, const struct record *record, struct err *err);

/* The same into a stage, whose directory is synced when it is committed. */
int record_write_new(int dirfd, const struct record *record, struct err *err);
int record_read(int dirfd, struct record **ret_record, struct err *err);
int record_parse(const char *text, size_t len, struct record **ret_record, struct err *err);
int record_format(const struct record *record, char **ret_text);

/* An empty record with room for n_disks disks; NULL without memory. */
struct record *record_new(uint32_t n_disks);

struct record_disk *record_disk_find(struct record *record, const char *target);

/* Fresh random version-4 UUID as text. */
void record_uuid_new(char text[static 37]);

#endif
