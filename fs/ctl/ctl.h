/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the control socket: the tool's end (calls) and the daemon's end (server.h).
 *
 * A Unix stream socket; one JSON object per line each way, CTL_LINE_MAX bytes
 * at most, requests answered in order.
 *
 *	-> {"verb": "attach", "clone": "web-clone1"}
 *	<- {"ok": true, ...}
 *	<- {"ok": false, "code": 16, "message": "WHAT: WHY", "hint": "..."}
 *
 * "code" is a positive errno, the class of the failure (fs/util/err.h).
 * Only root and the daemon's own user are answered (SO_PEERCRED); others get
 * EACCES. The socket is /run/lazyclone/STOREID.sock for root, and
 * $XDG_RUNTIME_DIR/lazyclone/STOREID.sock for a user (without that variable
 * /run/user/UID, else $XDG_DATA_HOME/lazyclone/run). STOREID is the store's id.
 *
 * Verbs
 *	status            everything `lazyclone status` shows
 *	hold SOURCE       protect a base (fs/base) until this connection ends; from
 *	                  then on the manifests that name it hold it. Or: hold PATH
 *	                  IDENTITY, as it was recorded
 *	attach CLONE      show a clone that was committed to the store
 *	detach CLONE [ID] hide it; EBUSY while a disk of it is open
 *	snapshot CLONE NAME    freeze all its disks at one instant, under a name; also
 *	                  while they are in use. Without NAME: only what the clone
 *	                  needs to be cloned itself (nothing if nothing was written)
 *	reset CLONE [TO]  throw its deltas away: back to the newest layer, to the
 *	                  snapshot TO, or with TO "" to the base. EBUSY while a disk
 *	                  of it is open; EEXIST if newer snapshots would be lost, which
 *	                  are to be forgotten first. Sizes of disks stay
 *	forget CLONE NAME drop a snapshot's name; its layer stays while it is needed
 *	quota CLONE BYTES change its quota; 0: none
 *	relink CLONE DISK PATH IDENTITY   its base is the one at PATH now. EBUSY while a
 *	                  disk of the clone is open
 *	check CLONE DISK FROM  verify blocks of a disk from one on, for about a second
 *	stop              unmount and exit; EBUSY while a disk is open
 *
 * The daemon attaches all clones of the store when it starts and holds all
 * their bases; a base in trouble does not keep the daemon from starting: the
 * disks on it answer EIO and status says why.
 *
 * Calls return 0 or -errno and set err; -ECONNREFUSED: no daemon. A call waits
 * at most CTL_TIMEOUT_MS (-ETIMEDOUT); then the daemon may do it still, and no
 * other call of that connection is sent: its answer would be the one that was
 * waited for. Threads: one thread per connection.
 */
#ifndef FS_CTL_CTL_H
#define FS_CTL_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/util/err.h"
#include "fs/util/id.h"

#define CTL_LINE_MAX (96u << 20) /* status of 65536 clones, each a disk or two: 500 to 1200 bytes */
#define CTL_REQUEST_MAX (128u << 10) /* hold: a path and an identity, each of its characters escaped */
#define CTL_TIMEOUT_MS 60000
#define CTL_PATH_MAX 108 /* sun_path */

struct ctl;

/* Where the socket of this store is for this user. 0 or -ENAMETOOLONG. */
int ctl_socket_path(const struct id *store_id, char path[static CTL_PATH_MAX]);

int ctl_connect(const struct id *store_id, struct ctl **ret_ctl, struct err *err);
void ctl_close(struct ctl *ctl); /* NULL allowed */

/* Wait so long instead of CTL_TIMEOUT_MS. */
void ctl_set_timeout(struct ctl *ctl, int ms);

/* Takes over request. *ret_reply (may be NULL) is the caller's to json_decref. */
int ctl_call(struct ctl *ctl, json_t *request, json_t **ret_reply, struct err *err);

/* *ret_status:
 *	{"version": "0.1", "pid": 1, "store": PATH, "store_id": ID, "mountpoint": PATH,
 *	 "started": SEC, "guard": "immutable" | "mode" | "none",
 *	 "memory_bytes": N (of the indexes of open disks),
 *	 "store_bytes": N (of all logs), "store_used_bytes": N (that count against quotas),
 *	 "store_free_bytes": N (that guests can still write), "store_quota_bytes": N (0: none),
 *	 "reserve_bytes", "reserve_filled_bytes" (less: guests' growth is refused until it is
 *	    whole), "reserve_counted": BOOL (the file system cannot allocate ahead),
 *	 "clones": [{"name", "id", "quota_bytes" (0: none), "used_bytes",
 *	    "disks": [{"target", "path", "size_bytes", "log_bytes", "opened": BOOL (by the daemon),
 *	    "index_bytes", "replayed_bytes", (by opening it)
 *	    "live_bytes", "data_blocks", "last_write": SEC, "opens": N, "uid", "gid", "mode",
 *	    "layers": N, "base": PATH, "base_state": as of
 *	    "bases", or "failed": it could not be held; "error": TEXT | null}],
 *	    "snapshots": [{"name", "created": SEC}] (oldest first)}],
 *	    (those from index_bytes to data_blocks are null while it is not opened: to know
 *	    them is to open its log)
 *	 "bases": [{"path", "format": "raw" | "qcow2" (of its top image), "files": N,
 *	    "state": "ready" | "suspended" | "changed" | "moved" (the worst of its files'),
 *	    "trouble": PATH | null (the first file that is not ready), "leased": BOOL,
 *	    "size_bytes", "allocated_bytes", "holds": N}]} */
int ctl_status(struct ctl *ctl, json_t **ret_status, struct err *err);

/* As the images are now, or as they were recorded. source: text that
 * base_source_format() made. *ret_identity is the caller's to free.
 * *ret_first: nothing held it before, from now on it cannot be written. */
int ctl_hold(struct ctl *ctl, const char *source, char **ret_identity,
	uint64_t *ret_size_bytes, bool *ret_first, struct err *err);
int ctl_hold_known(struct ctl *ctl, const char *path, const char *identity, bool *ret_first,
	struct err *err);
int ctl_attach(struct ctl *ctl, const char *clone, struct err *err);
int ctl_detach(struct ctl *ctl, const char *clone, const struct id *id, struct err *err);

/* name NULL: see above. -EEXIST: that name is taken; -EMLINK:
 * STORE_LAYERS_MAX layers lie below a disk already, or it has STORE_SNAPSHOTS_MAX
 * snapshots; -ETIMEDOUT: a write waits for a base in trouble. */
int ctl_snapshot(struct ctl *ctl, const char *clone, const char *name, struct err *err);
int ctl_reset(struct ctl *ctl, const char *clone, const char *to, struct err *err);
int ctl_forget(struct ctl *ctl, const char *clone, const char *name, struct err *err);
int ctl_quota(struct ctl *ctl, const char *clone, uint64_t bytes, struct err *err);

int ctl_relink(struct ctl *ctl, const char *clone, const char *target, const char *path,
	const char *identity, struct err *err);

/* One slice of a check. next_block: where to go on; at end_block: done. Blocks
 * count through the delta and then through each layer, so end_block is more than
 * the disk has when there are layers. */
struct ctl_checked {
	uint64_t next_block, end_block;
	uint64_t data_blocks; /* read and verified in this slice, layers included */
	uint64_t bad_blocks;  /* that did not verify, or are marked bad */
};

int ctl_check(struct ctl *ctl, const char *clone, const char *target, uint64_t from_block,
	struct ctl_checked *ret_checked, struct err *err);
int ctl_stop(struct ctl *ctl, struct err *err);

#endif
