/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as the source of a base. room: fs/base */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the parser lets in comes out as a text that gives the same text again. */
static void check_accepted(const struct base_source *source)
{
	struct base_source *back;
	char *once, *again;
	int rc = base_source_format(source, &once);

	if (rc == -E2BIG) /* its escapes were shorter than ours */
		return;
	if (rc < 0 || source->n_images == 0 || source->n_images > BASE_IMAGES_MAX)
		abort();
	if (base_source_parse(once, &back, NULL) < 0 || base_source_format(back, &again) < 0)
		abort();
	if (strcmp(once, again) != 0 || strpbrk(once, "\n\r"))
		abort();
	base_source_free(back);
	free(once);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct base_source *source;
	struct err err = {0};

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (base_source_parse(text, &source, &err) == 0) {
		check_accepted(source);
		base_source_free(source);
	} else if (err.message[0] == '\0') {
		abort();
	}
	free(text);
	return 0;
}
