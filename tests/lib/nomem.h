/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An allocation that fails on request: for programs linked with NOMEM_LDFLAGS (Makefile).
 *
 * Only what is allocated between nomem_enter() and nomem_leave() counts: calls
 * of the product, not the test's own. One thread. JSON's allocations count
 * after nomem_init(); what libc allocates for itself does not.
 */
#ifndef TESTS_LIB_NOMEM_H
#define TESTS_LIB_NOMEM_H

#include <stdbool.h>
#include <stdint.h>

void nomem_init(void);

/* The nth allocation from now on fails, and with sticky all after it; 0: none. */
void nomem_arm(uint64_t nth, bool sticky);

/* Allocations that failed since nomem_arm(). */
uint64_t nomem_hits(void);

void nomem_enter(void);
void nomem_leave(void);

#endif
