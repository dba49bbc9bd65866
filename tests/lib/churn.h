/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A delta that is written to and cleaned, beside a model of what must be on it.
 *
 * The delta is onedelta's: set a test up with churn_fresh, tear it down with
 * onedelta_remove. Failures end the test by cmocka's assertions.
 */
#ifndef TESTS_LIB_CHURN_H
#define TESTS_LIB_CHURN_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/delta.h"
#include "tests/lib/onedelta.h"

#define CHURN_BUDGET (UINT64_C(64) << 20)

/* What each block should be: 0: absent, 1: zeros, else a version of data. */
extern uint32_t churn_model[ONEDELTA_BLOCKS];

int churn_fresh(void **state);
void churn_forget(void); /* all absent */

/* One block of data; odd versions are compressible, even ones are not. */
void churn_fill(uint8_t *buf, uint32_t version, uint32_t block);

/* Write, discard: in the delta and in the model. */
void churn_put(struct delta *delta, uint32_t version, uint32_t block, uint32_t count);
void churn_zero(struct delta *delta, uint32_t block, uint32_t count);

/* A log of several segments: data of which a half was overwritten, zeros, holes
 * in both, and zeros alone. */
void churn_make_work(struct delta *delta);

/* Is the delta as the model says? */
void churn_check_block(struct delta *delta, uint32_t block);
void churn_check(struct delta *delta);

/* Open it again, after a kill or a clean stop. */
struct delta *churn_again(struct delta *delta, bool kill);

/* Check it as it is, after a kill, and after a clean stop. */
void churn_check_and_close(struct delta *delta);

/* Let the next step take all that gives something back, as for a full disk:
 * 64 MiB of dead space would be waited for otherwise. */
void churn_force(struct delta *delta);

/* Clean all there is; what was moved. */
uint64_t churn_clean_all(struct delta *delta);

uint64_t churn_used(struct delta *delta); /* bytes of slots that hold segments */
bool churn_in_use(struct delta *delta, uint64_t seq);

#endif
