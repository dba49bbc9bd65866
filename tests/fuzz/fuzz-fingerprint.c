/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as the fingerprint of a base. room: fs/base */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/fingerprint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the parser lets in, the writer must be able to write again, the same. */
static void check_accepted(const struct fingerprint *print)
{
	struct fingerprint_range range;
	struct fingerprint *back;
	char *text;

	if (fingerprint_format(print, &text) < 0 || strlen(text) > FINGERPRINT_TEXT_MAX ||
		fingerprint_parse(text, &back, NULL) < 0)
		abort();
	if (memcmp(print, back, sizeof(*print)) != 0 || fingerprint_differs(print, back, &range))
		abort();
	free(text);
	free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct fingerprint *print;
	struct err err = {0};
	int rc;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	rc = fingerprint_parse(text, &print, &err);
	if (rc == 0) {
		check_accepted(print);
		free(print);
	} else if (err.message[0] == '\0') {
		abort();
	}
	free(text);
	return 0;
}
