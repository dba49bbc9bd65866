/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an image format reads: bytes of one file, wherever they lie. Private to fs/base.
 *
 * A format's reader knows no descriptors, locks or leases; it asks for bytes.
 * In the product they come from a held file (file.h), in tests and fuzzing
 * from memory. Any thread.
 */
#ifndef FS_BASE_BYTES_H
#define FS_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
	void *of;
	uint64_t size_bytes;

	/* Exactly len bytes at off; zeros beyond the end. 0 or -errno. nowait:
	 * -EAGAIN instead of waiting for a device. */
	int (*read)(void *of, void *buf, size_t len, uint64_t off, bool nowait);

	/* Is off in a hole, and for how long (at most len, at least 1)? */
	bool (*hole)(void *of, uint64_t off, uint64_t len, uint64_t *ret_run);
};

#endif
