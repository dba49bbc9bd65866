/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the store: the store directory, its clones and their manifests.
 *
 *	STORE/lazyclone-store      what this directory is: id, format, feature words (JSON)
 *	STORE/daemon.lock          locked by the one daemon that serves the store
 *	STORE/layers.lock          locked by who makes layers needed, or deletes them (layers.h)
 *	STORE/clones/NAME/         one clone, complete by construction
 *	    manifest               which log is whose delta; the only commit point (JSON)
 *	    LOGID.super, .log, .ckpt   one delta (delta.h)
 *	    ...                    files of the cloning tool (record, pristine NVRAM)
 *	STORE/layers/              LOGID.super, .log, .ckpt: frozen deltas, each named by one or
 *	                           more manifests, shared by the clones stacked on it
 *	STORE/bases/               ID/: copies of originals that clones read (copies.h); records
 *	                           of base files (clone/state)
 *	STORE/reserve              allocated blocks for making room (space.h)
 *	STORE/staging/             clones being made: not there yet
 *	STORE/trash/               clones being removed: gone already
 *	STORE/journal/             the cloning tool's (clone/state)
 *
 * Making a clone: store_stage(), put files into the staging directory,
 * store_commit(). It appears whole, by one rename, or not at all. Removing
 * one: store_remove() renames it away, then deletes. What a crash leaves in
 * staging/ or trash/ belongs to nobody; store_sweep() deletes the latter, the
 * former is the journal's to undo (its maker may still be at work).
 *
 * Layers. A manifest names for each disk its delta and the layers below it,
 * newest first; the base is below the last. Freezing and resetting (freeze.h)
 * replace deltas by empty ones; the rename of the manifest is the only commit
 * point. Before it the new logs, and the frozen logs' hard links in layers/,
 * are durable and belong to nobody; after it the old names in the clone's
 * directory do. A layer that no manifest names, in clones/ or staging/, is
 * garbage: store_layers_sweep() (layers.h) deletes it.
 *
 * Names of clones and targets: see store_name_valid().
 *
 * Who writes a manifest: its maker before the commit, from then on only the
 * daemon (owner, mode, size).
 *
 * Errors: -EUCLEAN store damaged, foreign or too new; -ENOENT, -EEXIST,
 * -EBUSY, -ENOSPC as named. Threads: a struct store is read-only after
 * opening and may be shared.
 */
#ifndef FS_STORE_STORE_H
#define FS_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/util/err.h"
#include "fs/util/id.h"
#include "fs/util/io.h"

#define STORE_NAME_MAX 200      /* leaves room for suffixes below NAME_MAX (255) */
#define STORE_TARGET_MAX 32     /* vda, sdzz, disk0 ... */
#define STORE_DISKS_MAX 256     /* disks of one clone */
#define STORE_CLONES_MAX 65536  /* clones of one store */
#define STORE_MANIFEST_MAX (24u << 20) /* bytes: 256 disks with bases, layers and snapshots */
#define STORE_PATH_MAX 4096
#define STORE_IDENTITY_MAX 32768 /* bytes of a base's identity (BASE_IDENTITY_MAX) */
#define STORE_NODE_MAX ((UINT64_C(1) << 40) - 1)
#define STORE_LAYERS_MAX 32     /* below one disk: each costs a look-up for what lies below it */
#define STORE_SNAPSHOTS_MAX 256 /* of one clone */
#define STORE_NUMBER_MAX 65535 /* disk numbers are not used again: more than disks */

struct store;

/* A frozen delta below a disk. Its blocks at or above size_bytes are zeros,
 * whatever lies below: a disk only grows, so no layer is larger than what is
 * stacked on it. */
struct store_layer {
	struct id id;
	uint64_t size_bytes;
};

/* One instant of all disks of a clone, by name: their content, not their size
 * (a disk that grew since reads as zeros there). What lies below a top is what
 * lies below it in the disk's own layers. */
struct store_snapshot {
	char *name; /* store_name_valid */
	int64_t created_sec;
	struct id *tops; /* per disk of the manifest its topmost layer; zeros: the base alone */
};

/* One disk in a manifest. Strings are owned by the manifest. */
struct store_disk {
	char target[STORE_TARGET_MAX + 1]; /* "vda": the file is vda.raw */
	uint32_t number;                   /* persistent, unique within the clone, from 1 */
	struct id log;                     /* names LOGID.super and LOGID.log */
	uint64_t size_bytes;               /* what the guest sees; a multiple of 512 */
	uint64_t base_limit_bytes;         /* the base owns nothing at or above this */
	char *base_path;                   /* absolute */
	char *base_format;                 /* of its top image: "raw", "qcow2" */
	char *base_identity;               /* opaque text made by fs/base */
	uid_t uid;
	gid_t gid;
	mode_t mode; /* permission bits */
	uint32_t n_layers;
	struct store_layer *layers; /* newest first */
};

struct manifest {
	char *name;     /* of the clone: its directory */
	struct id id;   /* of the clone */
	uint64_t node;  /* persistent inode base: 1 to 2^40-1, unique in the store */
	int64_t created_sec;
	uint32_t n_disks;
	struct store_disk *disks;
	uint64_t quota_bytes; /* of all its logs, layers not counted; 0: none */
	uint32_t n_snapshots;
	struct store_snapshot *snapshots; /* oldest first */
};

void manifest_free(struct manifest *m); /* NULL allowed */
void store_snapshot_release(struct store_snapshot *snapshot); /* its members */

/* An empty manifest with name, fresh id, node and time. */
int manifest_new(const char *name, struct manifest **ret_manifest);

/* Add a zeroed disk with target, number and a fresh log id; NULL without
 * memory, with too many disks, or once there are snapshots (they say a top for
 * each disk). */
struct store_disk *manifest_add_disk(struct manifest *m, const char *target);

/* A manifest that is a copy of a valid one. -EINVAL: it is not valid. */
int manifest_copy(const struct manifest *m, struct manifest **ret_copy);

/* The snapshot called name; NULL: there is none. */
struct store_snapshot *manifest_snapshot(const struct manifest *m, const char *name);

/* Which of disk's layers is the topmost of its snapshot: an index into
 * disk->layers, disk->n_layers for the base alone. */
uint32_t manifest_snapshot_top(const struct manifest *m, const struct store_snapshot *snapshot,
	const struct store_disk *disk);

/* Text form and back; the parser takes any bytes (it is fuzzed) and checks
 * every name, size and count. Caller frees *ret_text. */
int manifest_format(const struct manifest *m, char **ret_text, size_t *ret_len);
int manifest_parse(const char *text, size_t len, struct manifest **ret_manifest, struct err *err);

/* Letters, digits and what libvirt allows in a name, but no '/', no leading
 * '.', no control characters, 1 to STORE_NAME_MAX bytes. */
bool store_name_valid(const char *name);
bool store_target_valid(const char *target);

/* Make a store at path. An empty or missing directory becomes one, and so
 * does one whose making was cut short; a store is left as it is; anything
 * else is refused (-EUCLEAN). Parents are made. */
int store_create(const struct io_gate *io, const char *path, struct err *err);

/* Open an existing store. -ENOENT: nothing there, or an empty directory. */
int store_open(const struct io_gate *io, const char *path, struct store **ret_store,
	struct err *err);
void store_close(struct store *store); /* releases the daemon's lock too; NULL allowed */

const char *store_path(const struct store *store); /* canonical, absolute */
const struct id *store_id(const struct store *store);
int store_dirfd(const struct store *store); /* of STORE; stays the store's */
int store_layers_dirfd(const struct store *store); /* of STORE/layers; stays the store's */

/* Become the one daemon of the store. -EBUSY: there is one. File systems
 * without open-file-description locks are refused (-EOPNOTSUPP). */
int store_lock(struct store *store, struct err *err);

/* 1 if a daemon holds the lock, 0 if not, -errno. */
int store_locked(struct store *store);

/* A clone being made. */
struct store_stage;

/* Begin: a directory in staging/, with the deltas and the manifest of m in
 * it, their content synced. -EEXIST if a clone of that name is there already;
 * -ENOENT if a layer or copy that m names is not there: from a 0 on no sweep deletes it. */
int store_stage(struct store *store, const struct manifest *m, struct store_stage **ret_stage,
	struct err *err);
/* To add files. Sync their content; store_commit() syncs the directory. */
int store_stage_dirfd(const struct store_stage *stage);
const char *store_stage_name(const struct store_stage *stage); /* in staging/: m->id as text */

/* Publish as clones/NAME, durably; or delete. Both free the stage. A commit
 * that fails leaves nothing in clones/; -EEXIST: somebody took the name. */
int store_commit(struct store_stage *stage, struct err *err);
void store_stage_abort(struct store_stage *stage);

/* Delete a stage by name that a killed run left behind. 0 if it is gone. */
int store_stage_sweep(struct store *store, const char *stage_name, struct err *err);

/* Names of all clones, sorted; free with store_names_free. */
int store_list(struct store *store, char ***ret_names, uint32_t *ret_count, struct err *err);
void store_names_free(char **names, uint32_t count);

int store_manifest_read(struct store *store, const char *name, struct manifest **ret_manifest,
	struct err *err);

/* Replace the manifest of the clone m->name, durably. -ENOENT if a clone with
 * another id has that name by now. */
int store_manifest_write(struct store *store, const struct manifest *m, struct err *err);

/* Descriptor of clones/NAME, or -errno. */
int store_clone_dirfd(struct store *store, const char *name);

/* Remove a clone: gone for every reader when it returns, durable; only if its
 * id still is *id (so that a namesake made meanwhile is not removed). */
int store_remove(struct store *store, const char *name, const struct id *id, struct err *err);

/* Delete what crashes left: in trash/, temporary files of store_create(), layers
 * that no manifest names; as the daemon of the store, before it serves a clone,
 * also logs in clones' directories that their manifests do not name. Any
 * number of processes may do so at once, beside store_remove(). */
int store_sweep(struct store *store, struct err *err);

/* File name of a disk below its clone: "vda.raw". */
#define STORE_DISK_SUFFIX ".raw"

#endif
