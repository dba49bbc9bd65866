/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The NVRAM copies that a clone keeps: one for each instant it can be reset to.
 *
 * STORE/clones/NAME/kept.json, published by rename, names files beside it:
 * RECORD_NVRAM, and "nvram.ID" with a random id. An entry is written, durably,
 * before the freeze that makes its instant; what it says of the disks are
 * their delta logs at that time. A log that a freeze turned into a layer keeps
 * its id, so an entry belongs to the instant whose topmost layers name one of
 * its logs; of several the last one, as each freeze takes new logs. An entry
 * whose freeze never came belongs to nothing, and is dropped by the next
 * command (kept_prune).
 *
 * The file says nothing about which instants there are: that is the manifest's.
 */
#ifndef CLONE_STATE_KEPT_H
#define CLONE_STATE_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/util/err.h"
#include "fs/util/id.h"

#define KEPT_NAME "kept.json"
#define KEPT_ENTRIES_MAX 1024 /* of STORE_SNAPSHOTS_MAX + STORE_LAYERS_MAX, and what a kill left */
#define KEPT_LOGS_MAX 256     /* disks of a clone */
#define KEPT_BYTES_MAX (16u << 20)
#define KEPT_TEXT_MAX 255     /* a snapshot's name, a file's */
#define KEPT_FILE_TEXT (6 + ID_TEXT) /* "nvram.ID" */

struct kept_entry {
	char *name; /* of a snapshot, or NULL */
	bool base;  /* the instant before anything was written */
	uint32_t n_logs;
	struct id *logs;
	char *file; /* NULL: the machine had no NVRAM file yet */
};

struct kept {
	uint32_t count;
	struct kept_entry *entries; /* in the order of their instants */
};

/* A clone that never kept more than RECORD_NVRAM has no file: no entries. */
int kept_read(int dirfd, struct kept **ret_kept, struct err *err);
int kept_write(int dirfd, const struct kept *kept, struct err *err); /* durable */
int kept_write_new(int dirfd, const struct kept *kept, struct err *err); /* into a stage */
int kept_parse(const char *text, size_t len, struct kept **ret_kept, struct err *err);
int kept_format(const struct kept *kept, char **ret_text);
struct kept *kept_new(void); /* no entries; NULL without memory */
void kept_free(struct kept *kept); /* NULL allowed */

/* Append; all is copied. -ENOMEM, -EMLINK: too many. */
int kept_add(struct kept *kept, const struct kept_entry *entry);

/* Which entry belongs to an instant: a snapshot's name, the topmost layers of
 * the disks (each of them must be known), the base. NULL: none. */
const struct kept_entry *kept_of_name(const struct kept *kept, const char *name);
const struct kept_entry *kept_of_tops(const struct kept *kept, const struct id *tops, uint32_t n);
const struct kept_entry *kept_of_base(const struct kept *kept);

/* What the manifest says of names and layers. */
struct kept_view {
	bool (*has_name)(const void *ctx, const char *name);
	bool (*has_layer)(const void *ctx, const struct id *layer);
	const void *ctx;
};

/* Drop the entries that belong to nothing, forget names that are gone.
 * True if anything changed. */
bool kept_prune(struct kept *kept, const struct kept_view *view);

/* Does an entry name this file? */
bool kept_names_file(const struct kept *kept, const char *file);

/* A name of this form, "nvram." and 32 hexadecimal digits, is a copy of ours. */
void kept_file_new(char file[static KEPT_FILE_TEXT]);
bool kept_file_is_copy(const char *file);

#endif
