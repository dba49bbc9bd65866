/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What must hold of any bytes as a qcow2 image: opened, mapped and read.
 *
 * What opens has a disk in which each offset maps to something or fails by
 * -EUCLEAN; an extent is not empty, stays inside the disk, and its data lie in
 * the file. Unpacking twice gives the same. What does not open has a reason.
 */
#ifndef TESTS_LIB_COWWALK_H
#define TESTS_LIB_COWWALK_H

#include <stdbool.h>

#include "tests/lib/cow.h"

/* Aborts where it does not hold. True: it opens, or its snapshot "1" does. */
bool cowwalk(struct cow *cow);

#endif
