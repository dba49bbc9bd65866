/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a base consists of, as lines for people. */
#include <stdio.h>
#include <string.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"

static void print_image(const json_t *image, const char *role)
{
	const char *snapshot = member_text(image, "snapshot", NULL);
	const char *data = member_text(image, "data", NULL);

	printf("  %s %s (%s)%s%s\n", role, member_text(image, "path", "?"),
		member_text(image, "format", "?"), snapshot ? ", snapshot " : "",
		snapshot ? snapshot : "");
	if (data)
		printf("    with its data in %s\n", data);
}

void cmd_print_chain(const char *target, const json_t *images)
{
	const json_t *image;
	size_t i;

	if (json_array_size(images) < 2 &&
		!strcmp(member_text(json_array_get(images, 0), "format", "raw"), "raw"))
		return;
	printf("%s reads\n", target);
	json_array_foreach(images, i, image)
		print_image(image, i == 0 ? "the image" : "below it");
}
