/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copying disks into sparse files with several threads. */
#ifndef CLONE_PLAN_COPY_H
#define CLONE_PLAN_COPY_H

#include <stdint.h>

#include "fs/util/err.h"

/* One disk. Both stay the caller's; `to` is as long as the disk and one hole. */
struct copy {
	const char *name; /* for messages */
	int from_fd;
	int to_fd;
	uint64_t size_bytes;
};

/* Bytes from the first SEEK_DATA to the last: what copying will read. */
int copy_data_bytes(int fd, uint64_t size_bytes, uint64_t *ret_bytes);

/* Called from the thread that calls copy_run, a few times a second. */
typedef void copy_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes);

/* Copy the data of all; holes and zeros stay holes. Nothing is synced, but
 * write-back is started as it goes. *ret_written: bytes that are not holes.
 * -EINTR when a signal was caught (interrupt.h). */
int copy_run(const struct copy *copies, uint32_t count, uint64_t total_bytes,
	copy_progress *progress, void *ctx, uint64_t *ret_written, struct err *err);

#endif
