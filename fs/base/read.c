/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Data of a held base: reads through the gate, and its holes. */
#include "fs/base/hold.h"

#include "fs/util/cleanup.h"
#include "fs/util/round.h"

int base_read(struct base *base, void *buf, size_t len, uint64_t off, bool nowait)
{
	int rc = gate_enter(&base->gate, nowait);

	if (rc < 0)
		return rc;
	rc = raw_read(&base->raw, buf, len, off, nowait);
	if (gate_leave(&base->gate))
		watch_wake(&base->watch);
	return rc;
}

/* A base does not change, so the stretch stays true; asking along a disk
 * costs one look per stretch. A base that did change is all data: a read of
 * it fails, and must not be taken for zeros. */
bool base_hole(struct base *base, uint64_t off, uint64_t len, uint64_t *ret_run)
{
	SCOPED_LOCK(&base->hole_lock);
	*ret_run = len;
	if (off >= base->raw.size_bytes)
		return true;
	if (gate_state(&base->gate) == BASE_CHANGED)
		return false;
	if (off < base->stretch_start || off >= base->stretch_end) {
		base->stretch_hole = raw_hole(&base->raw, off, &base->stretch_end);
		base->stretch_start = off;
	}
	/* What follows the end is a hole as well. */
	if (!base->stretch_hole || base->stretch_end < base->raw.size_bytes)
		*ret_run = min_u64(len, base->stretch_end - off);
	return base->stretch_hole;
}
