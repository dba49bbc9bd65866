/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `version`, and --version. */
#include <jansson.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"

static int run_version(struct cmd *cmd, struct err *err)
{
	(void)err;
	if (cmd->args.json)
		output_json(json_pack("{s:s}", "version", LAZYCLONE_VERSION));
	else
		printf("lazyclone %s\n", LAZYCLONE_VERSION);
	return 0;
}

const struct verb verb_version = {
	.name = "version",
	.summary = "print the version",
	.usage = (const char *const[]){"", NULL},
	.options = no_options,
	.run = run_version,
};
