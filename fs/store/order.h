/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Do the two orders of a log agree: the records' places, and the LSNs of what they hold?
 *
 * Replay takes the last version of a block in the log's order; format.h promises
 * that it is the one with the highest LSN. Blocks of which the log holds data
 * are followed, one LSN each; a block that was only ever zeroed is not.
 */
#ifndef FS_STORE_ORDER_H
#define FS_STORE_ORDER_H

#include <stdint.h>

#include "fs/store/survey.h"

/* What was found out of order; count 0: nothing. */
struct order {
	uint64_t count;
	uint64_t block, lsn, newer_lsn; /* the first: a version, and the one before it */
};

/* Follow all records of a log without a loss. -ENOMEM, or what reading failed with. */
int order_check(struct survey *survey, struct order *ret_order);

#endif
