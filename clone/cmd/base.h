/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs of the noun "base". */
#ifndef CLONE_CMD_BASE_H
#define CLONE_CMD_BASE_H

#include "clone/cmd/verb.h"

extern const struct verb verb_base_list, verb_base_info;

#endif
