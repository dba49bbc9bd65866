/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as the list of a clone's NVRAM copies. room: clone/state */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clone/state/kept.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kept *kept, *back;
	char *text, *again;

	if (kept_parse((const char *)data, size, &kept, NULL) < 0)
		return 0;
	/* No file that is named lies anywhere but in the clone's directory. */
	for (uint32_t i = 0; i < kept->count; i++)
		if (kept->entries[i].file && strchr(kept->entries[i].file, '/'))
			abort();
	if (kept_format(kept, &text) < 0 || kept_parse(text, strlen(text), &back, NULL) < 0 ||
		kept_format(back, &again) < 0 || strcmp(text, again) != 0)
		abort();
	free(text);
	free(again);
	kept_free(kept);
	kept_free(back);
	return 0;
}
