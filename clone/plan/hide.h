/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Letting the daemon hide the disks of a clone that is to go. */
#ifndef CLONE_PLAN_HIDE_H
#define CLONE_PLAN_HIDE_H

#include "fs/ctl/ctl.h"
#include "fs/util/err.h"
#include "fs/util/id.h"

/* A file that was just closed is seen as such a moment later (the kernel tells
 * the daemon without waiting), so "in use" is believed only after this time. */
#define HIDE_PATIENCE_MS 2000

/* 0 also when they were hidden before, or no daemon runs (ctl NULL). -EBUSY:
 * somebody has one open. */
int hide_clone(struct ctl *ctl, const char *clone, const struct id *id, struct err *err);

#endif
