/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads against each other on a store with tiny segments: cleaning is always in their way. */
#include "tests/model/threads.c"
