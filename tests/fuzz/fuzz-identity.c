/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any text as the identity of a base. room: fs/base */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the parser lets in, the writer must be able to write again, the same. */
static void check_accepted(const struct identity *id)
{
	struct identity back;
	char *text;

	if (identity_format(id, &text) < 0 || strlen(text) > BASE_IDENTITY_MAX ||
		identity_parse(text, &back, NULL) < 0)
		abort();
	if (!identity_same(id, &back) || strpbrk(text, "\n\r"))
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct identity id;
	struct err err = {0};
	int rc;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	rc = identity_parse(text, &id, &err);
	if (rc == 0)
		check_accepted(&id);
	else if (err.message[0] == '\0')
		abort();
	/* What is no identity is not equal to anything, itself included. */
	if (base_identity_equal(text, text) != (rc == 0))
		abort();
	free(text);
	return 0;
}
