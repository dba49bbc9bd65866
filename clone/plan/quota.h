/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The quota of a clone: how much its deltas may take of the store. */
#ifndef CLONE_PLAN_QUOTA_H
#define CLONE_PLAN_QUOTA_H

#include <stdint.h>

#include "clone/plan/session.h"
#include "fs/util/err.h"

/* Smaller ones would stop a guest at its first segments. */
#define QUOTA_BYTES_MIN (UINT64_C(16) << 20)
#define QUOTA_BYTES_MAX (UINT64_C(1) << 60)

/* "10G", or "none", which is 0. */
int quota_parse(const char *what, const char *text, uint64_t *ret_bytes, struct err *err);

/* 0 bytes: none. */
int quota_set(struct session *session, const char *clone, uint64_t bytes, struct err *err);

#endif
