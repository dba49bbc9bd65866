/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The maintenance thread: checkpoints, cleaning, closing of idle disks, the reserve,
 * a look at the bases.
 *
 * What a reset threw away gets its space back in the next round (fs/store/remains.h).
 *
 * One per daemon. It goes round the open disks and does one short step for
 * each that needs one; none of it is needed for data to be safe. Guests come
 * first: a disk that is in use gets steps with pauses between them, unless its
 * writers already wait for room.
 *
 * A disk that nobody used for idle_sec is closed, also while a guest has it
 * open; over the memory budget the longest idle ones are closed earlier.
 *
 * Errors go to the log once, and to the disk's status (keeping.error); the
 * disk's step is not tried again for a while.
 */
#ifndef FS_DAEMON_KEEPER_H
#define FS_DAEMON_KEEPER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/mount/mount.h"
#include "fs/store/space.h"
#include "fs/util/err.h"

/* A disk that was not used for this long gets a checkpoint, if opening it would
 * have to replay so much. */
#define KEEPER_REST_MS 5000 /* unless the options say another */
#define KEEPER_REST_REPLAY_BYTES (UINT64_C(1) << 20)

/* Used within this time: its guest is at work, and a pause of so many times a
 * step follows each step. */
#define KEEPER_BUSY_MS 200
#define KEEPER_BUSY_PAUSE 4

/* Payload moved in a step: for a disk at work, and for one that is not. */
#define KEEPER_BUSY_STEP_BYTES (UINT64_C(1) << 20)
#define KEEPER_STEP_BYTES (UINT64_C(8) << 20)

/* Under a rate limit a step moves what this part of a second allows. */
#define KEEPER_RATE_STEPS 10
#define KEEPER_RATE_STEP_BYTES (UINT64_C(64) << 10) /* at least */

#define KEEPER_ROUND_MS 1000       /* when nothing is to be done */
#define KEEPER_FAILED_MS 30000     /* before a step that failed is tried again, */
#define KEEPER_FULL_MS 1000        /* for want of space */
#define KEEPER_MEMORY_IDLE_MS 1000 /* a disk used since is not closed for memory */

struct keeper_options {
	unsigned int idle_sec;
	uint64_t memory_bytes;
	bool clean;
	uint64_t clean_rate_bytes; /* per second; 0: no limit */
	unsigned int rest_ms;      /* 0: KEEPER_REST_MS */
};

/* What the thread remembers of a disk. Starts zeroed. */
struct keeping {
	/* the thread's */
	uint64_t covered_bytes;      /* appended when a checkpoint was taken last */
	int64_t checkpoint_after_ms; /* not before, as the last one failed */
	int64_t clean_after_ms;      /* the same, or a pause for its guest */
	int told;                    /* -errno that is in the log already */

	_Atomic int error;       /* -errno of the last step that was tried, 0 */
	_Atomic uint64_t pauses; /* of cleaning, for its guest */
};

struct keeper;

/* of: the keeping of a disk_ctx, and a name of it for the log ("clone: disk"),
 * which has to stay as long as the disk is open. */
struct keeper_backend {
	struct keeping *(*of)(void *disk_ctx);
	void (*name)(void *disk_ctx, char *name, size_t size);
	/* Index memory that is no disk's alone: of the open layers. */
	uint64_t (*shared_bytes)(void *ctx);
	void (*look)(void *ctx); /* each round, at least every second; NULL: none */
	void *ctx;
};

int keeper_start(const struct keeper_options *options, const struct keeper_backend *backend,
	struct mount *mount, struct space_pool *pool, struct keeper **ret_keeper, struct err *err);

/* Ends the step under way, then the thread. Before mount_stop(). NULL allowed. */
void keeper_stop(struct keeper *keeper);

/* Index memory of all open disks, as of the last round. */
uint64_t keeper_memory_bytes(struct keeper *keeper);

#endif
