/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's command line: lazyclonefs STORE MOUNTPOINT [-o OPTIONS] [-f].
 *
 * Also what mount(8) calls as mount.fuse.lazyclone: options anywhere, those
 * that are mount(8)'s own business (rw, noauto, _netdev, x-...) accepted.
 */
#ifndef FS_DAEMON_OPTIONS_H
#define FS_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/util/err.h"

enum options_wanted {
	OPTIONS_SERVE,
	OPTIONS_HELP,
	OPTIONS_VERSION,
	OPTIONS_NOTHING, /* mount -f: pretend */
};

struct options {
	enum options_wanted wanted;
	char *store;      /* as given */
	char *mountpoint; /* as given */
	bool foreground;
	bool allow_other;
	bool force_takeover; /* open deltas another host's daemon owned */
	unsigned int workers; /* 0: by the number of processors */
	uint64_t quota_bytes;       /* of the store; 0: none */
	uint64_t clone_quota_bytes; /* of clones without their own; 0: none */
	uint64_t memory_bytes;      /* for indexes */
	unsigned int idle_sec;      /* after which an unused disk is closed */
	bool clean;                 /* clean logs */
	uint64_t clean_rate_bytes;  /* per second; 0: as fast as guests let it */
};

/* Strings are the caller's to release. -EINVAL: wrong usage. */
int options_parse(int argc, char **argv, struct options *ret_options, struct err *err);
void options_release(struct options *options);

extern const char options_usage[];

#endif
