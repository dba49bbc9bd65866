/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the store: the store directory, its clones and their manifests.
 *
 *	STORE/lazyclone-store      what this directory is: id, format, feature words (JSON)
 *	STORE/daemon.lock          locked by the one daemon that serves the store
 *	STORE/clones/NAME/         one clone, complete by construction
 *	    manifest               which log is whose delta; the only commit point (JSON)
 *	    LOGID.super, LOGID.log one delta (delta.h)
 *	    ...                    files of the cloning tool (record, pristine NVRAM)
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
#define STORE_MANIFEST_MAX (1u << 20) /* bytes: 256 disks of 4 KiB each */
#define STORE_PATH_MAX 4096
#define STORE_IDENTITY_MAX 4096 /* bytes of a base's identity (BASE_IDENTITY_MAX) */
#define STORE_NODE_MAX ((UINT64_C(1) << 40) - 1)
#define STORE_NUMBER_MAX 65535 /* disk numbers are not used again: more than disks */

struct store;

/* One disk in a manifest. Strings are owned by the manifest. */
struct store_disk {
	char target[STORE_TARGET_MAX + 1]; /* "vda": the file is vda.raw */
	uint32_t number;                   /* persistent, unique within the clone, from 1 */
	struct id log;                     /* names LOGID.super and LOGID.log */
	uint64_t size_bytes;               /* what the guest sees; a multiple of 512 */
	uint64_t base_limit_bytes;         /* the base owns nothing at or above this */
	char *base_path;                   /* absolute */
	char *base_format;                 /* "raw" */
	char *base_identity;               /* opaque text made by fs/base */
	uid_t uid;
	gid_t gid;
	mode_t mode; /* permission bits */
};

struct manifest {
	char *name;     /* of the clone: its directory */
	struct id id;   /* of the clone */
	uint64_t node;  /* persistent inode base: 1 to 2^40-1, unique in the store */
	int64_t created_sec;
	uint32_t n_disks;
	struct store_disk *disks;
};

void manifest_free(struct manifest *m); /* NULL allowed */

/* An empty manifest with name, fresh id, node and time. */
int manifest_new(const char *name, struct manifest **ret_manifest);

/* Add a zeroed disk with target, number and a fresh log id; NULL without memory. */
struct store_disk *manifest_add_disk(struct manifest *m, const char *target);

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

/* Become the one daemon of the store. -EBUSY: there is one. File systems
 * without open-file-description locks are refused (-EOPNOTSUPP). */
int store_lock(struct store *store, struct err *err);

/* 1 if a daemon holds the lock, 0 if not, -errno. */
int store_locked(struct store *store);

/* A clone being made. */
struct store_stage;

/* Begin: a directory in staging/, with the deltas and the manifest of m in
 * it, their content synced. -EEXIST if a clone of that name is there already. */
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

/* Delete what crashes left in trash/, and temporary files of store_create().
 * Any number of processes may do so at once, beside store_remove(). */
int store_sweep(struct store *store, struct err *err);

/* File name of a disk below its clone: "vda.raw". */
#define STORE_DISK_SUFFIX ".raw"

#endif
