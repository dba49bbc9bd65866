/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where things are: the store, its mount point, the daemon's program.
 *
 * System mode (root): store /var/lib/lazyclone/store, mount
 * /var/lib/lazyclone/mnt. Session mode (an ordinary user): the same below
 * $XDG_DATA_HOME/lazyclone (~/.local/share/lazyclone). --store and
 * LAZYCLONE_STORE name another store. The mount point of a store called
 * "store" is its sibling "mnt", of any other STORE it is "STORE-mnt", unless
 * `lazyclone mount` was given one: that is remembered in STORE/mountpoint.
 */
#ifndef CLONE_STATE_PATHS_H
#define CLONE_STATE_PATHS_H

#include "fs/util/err.h"

/* option: --store's value or NULL. Absolute; caller frees. */
int paths_store(const char *option, char **ret_path, struct err *err);

/* The directory that lists the stores of this host, for this user: stores.h.
 * /var/lib/lazyclone/stores, or "stores" beside the usual store of a user;
 * LAZYCLONE_STORES names another one. Absolute; caller frees. */
int paths_stores(char **ret_path, struct err *err);

/* Of a store by its path. Caller frees. */
int paths_mountpoint(const char *store_path, char **ret_path, struct err *err);
int paths_remember_mountpoint(const char *store_path, const char *mountpoint, struct err *err);

/* lazyclonefs: beside the running program, in its ../sbin, else where it was
 * built to be installed. */
int paths_daemon(char **ret_path, struct err *err);

#endif
