/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model test on a store with tiny segments: many more are emptied, freed and reused. */
#define OPS_DEFAULT 100000
#include "tests/model/random.c"
