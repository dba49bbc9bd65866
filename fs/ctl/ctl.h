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
 *	hold PATH [IDENTITY]   protect a base (fs/base) until this connection
 *	                  ends; from then on the manifests that name it hold it
 *	attach CLONE      show a clone that was committed to the store
 *	detach CLONE [ID] hide it; EBUSY while a disk of it is open
 *	stop              unmount and exit; EBUSY while a disk is open
 *
 * The daemon attaches all clones of the store when it starts and holds all
 * their bases; a base in trouble does not keep the daemon from starting: the
 * disks on it answer EIO and status says why.
 *
 * Calls return 0 or -errno and set err; -ECONNREFUSED: no daemon. A call waits
 * at most CTL_TIMEOUT_MS (-ETIMEDOUT). Threads: one thread per connection.
 */
#ifndef FS_CTL_CTL_H
#define FS_CTL_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/util/err.h"
#include "fs/util/id.h"

#define CTL_LINE_MAX (64u << 20) /* status of 65536 clones, each a disk or two: 300 to 900 bytes */
#define CTL_REQUEST_MAX (64u << 10)
#define CTL_TIMEOUT_MS 60000
#define CTL_PATH_MAX 108 /* sun_path */

struct ctl;

/* Where the socket of this store is for this user. 0 or -ENAMETOOLONG. */
int ctl_socket_path(const struct id *store_id, char path[static CTL_PATH_MAX]);

int ctl_connect(const struct id *store_id, struct ctl **ret_ctl, struct err *err);
void ctl_close(struct ctl *ctl); /* NULL allowed */

/* Takes over request. *ret_reply (may be NULL) is the caller's to json_decref. */
int ctl_call(struct ctl *ctl, json_t *request, json_t **ret_reply, struct err *err);

/* *ret_status:
 *	{"version": "0.1", "pid": 1, "store": PATH, "store_id": ID, "mountpoint": PATH,
 *	 "started": SEC, "guard": "immutable" | "mode" | "none",
 *	 "store_bytes": N (of all logs), "store_free_bytes": N,
 *	 "clones": [{"name", "id", "disks": [{"target", "path", "size_bytes", "log_bytes",
 *	    "live_bytes", "data_blocks", "last_write": SEC, "opens": N, "uid", "gid", "mode",
 *	    "base": PATH, "error": TEXT | null}]}],
 *	    (live_bytes and data_blocks are null until somebody first looks at the disk: to
 *	    know them is to replay its log)
 *	 "bases": [{"path", "state": "ready" | "suspended" | "changed" | "moved",
 *	    "leased": BOOL,
 *	    "size_bytes", "allocated_bytes", "holds": N}]} */
int ctl_status(struct ctl *ctl, json_t **ret_status, struct err *err);

/* identity NULL: as it is now. *ret_identity is the caller's to free.
 * *ret_first: nothing held it before, from now on it cannot be written. */
int ctl_hold(struct ctl *ctl, const char *path, const char *identity, char **ret_identity,
	uint64_t *ret_size_bytes, bool *ret_first, struct err *err);
int ctl_attach(struct ctl *ctl, const char *clone, struct err *err);
int ctl_detach(struct ctl *ctl, const char *clone, const struct id *id, struct err *err);
int ctl_stop(struct ctl *ctl, struct err *err);

#endif
