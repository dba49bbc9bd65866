/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A held base. Private to fs/base; others see base.h. */
#ifndef FS_BASE_HOLD_H
#define FS_BASE_HOLD_H

#include <pthread.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/base/gate.h"
#include "fs/base/identity.h"
#include "fs/base/raw.h"
#include "fs/base/watch.h"

/* Locks: the table's (hold.c), then the gate's; hole_lock alone. */
struct base {
	/* Constant while held. */
	char *path;
	char *identity_text;
	struct identity identity;
	struct raw raw;

	struct gate gate;
	struct watch watch;

	/* The last stretch that base_hole() looked up; under hole_lock. */
	pthread_mutex_t hole_lock;
	uint64_t stretch_start;
	uint64_t stretch_end;
	bool stretch_hole;

	/* Under the table's lock. */
	uint32_t holds;
	struct base *next;
};

#endif
