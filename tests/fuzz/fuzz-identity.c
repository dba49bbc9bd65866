/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as the identity of a base. room: fs/base */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/identity-text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the parser lets in, the writer must be able to write again, the same. */
static void check_accepted(const struct known *known)
{
	struct known *back;
	char *text;

	/* A long text may have had shorter escapes than ours. */
	switch (known_format(known, &text)) {
	case -E2BIG:
		return;
	case 0:
		break;
	default:
		abort();
	}
	if (strlen(text) > BASE_IDENTITY_MAX || known_parse("/", text, &back, NULL) < 0)
		abort();
	if (!known_same(known, back) || strpbrk(text, "\n\r"))
		abort();
	known_free(back);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct known *known;
	struct err err = {0};
	int rc;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	rc = known_parse("/", text, &known, &err);
	/* What is no identity is not equal to anything, itself included. */
	if (base_identity_equal(text, text) != (rc == 0))
		abort();
	if (rc < 0 && err.message[0] == '\0')
		abort();
	if (rc == 0) {
		check_accepted(known);
		known_free(known);
	}
	free(text);
	return 0;
}
