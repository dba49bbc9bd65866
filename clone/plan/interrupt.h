/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SIGINT, SIGTERM and SIGHUP as a flag, so that a plan stops between two steps and undoes.
 *
 * Threads: the flag may be read from any; catch and restore belong to the one
 * that runs the plan, and do not nest.
 */
#ifndef CLONE_PLAN_INTERRUPT_H
#define CLONE_PLAN_INTERRUPT_H

#include <stdbool.h>

#include "fs/util/err.h"

void interrupt_catch(void);   /* clears the flag */
void interrupt_restore(void); /* what the signals did before */

/* -EINTR with a message once a signal came, else 0. */
int interrupt_check(struct err *err);
bool interrupt_pending(void);

#endif
