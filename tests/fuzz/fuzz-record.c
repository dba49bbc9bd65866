/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as a clone's record. room: clone/state */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clone/state/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record *record, *back;
	char *text, *again;

	if (record_parse((const char *)data, size, &record, NULL) < 0)
		return 0;
	/* What the reader lets in, the writer writes, and the reader reads the same. */
	if (record_format(record, &text) < 0 ||
		record_parse(text, strlen(text), &back, NULL) < 0 ||
		record_format(back, &again) < 0 || strcmp(text, again) != 0)
		abort();
	free(text);
	free(again);
	record_free(record);
	record_free(back);
	return 0;
}
