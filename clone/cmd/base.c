/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The noun `base`: the original images that clones need. */
#include "clone/cmd/base.h"

#include <stddef.h>

static const struct verb *const base_verbs[] = {
	&verb_base_list, &verb_base_info, NULL,
};

const struct verb verb_base = {
	.name = "base",
	.summary = "the original images that clones need",
	.usage = (const char *const[]){"VERB [ARGUMENT...]", NULL},
	.detail = (const char *const[]){
		"A base is an image that clones read where they wrote nothing: it has to stay as it",
		"is, where it is, as long as one of them is there. All stores of this host count.",
		NULL},
	.options = no_options,
	.verbs = base_verbs,
};
