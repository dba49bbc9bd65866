/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Segment headers that are gone, made again from what the log around them proves.
 *
 * What a header says stands elsewhere too: its sequence number in the header of
 * the segment behind it, in the super block or in the clean mark; its epoch in
 * its neighbours or the super block; where the records before it end, at the end of the
 * segment before it. A header that is made of these is the one that was there
 * if the first record behind it verifies: its sum covers all of them.
 *
 * Not so when the segment before it was freed or is gone as well, for then
 * nobody knows the sum that its first record is chained to.
 */
#ifndef FS_STORE_REVIVE_H
#define FS_STORE_REVIVE_H

#include "fs/store/scan.h"

/* Was there a header that is not valid now? slots_witness: all slots below had one. */
static inline bool revive_is_gone(const struct scan *scan, uint32_t slot, uint32_t slots_witness)
{
	enum scan_kind kind = scan->slots[slot].kind;

	return kind == SCAN_DAMAGED || (kind == SCAN_NEVER && slot < slots_witness);
}

/* Put into scan->slots what can be proven. 0, or what reading failed with. */
int revive_headers(struct scan *scan, uint32_t slots_witness);

#endif
