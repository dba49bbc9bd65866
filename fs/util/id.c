/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random identifiers: see id.h. */
#include "fs/util/id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void random_bytes(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			abort(); /* no generator: nothing we make would be unique */
		p += n;
		len -= (size_t)n;
	}
}

uint64_t random_u64(void)
{
	uint64_t v;

	do
		random_bytes(&v, sizeof(v));
	while (v == 0);
	return v;
}

struct id id_new(void)
{
	struct id id;

	random_bytes(id.byte, sizeof(id.byte));
	return id;
}

void id_format(const struct id *id, char text[static ID_TEXT])
{
	for (int i = 0; i < ID_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", id->byte[i]);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int id_parse(const char *text, struct id *ret_id)
{
	struct id id;

	if (strlen(text) != 2 * ID_BYTES)
		return -EINVAL;
	for (int i = 0; i < ID_BYTES; i++) {
		int high = hex_digit(text[2 * i]);
		int low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		id.byte[i] = (uint8_t)(high << 4 | low);
	}
	*ret_id = id;
	return 0;
}

bool id_equal(const struct id *a, const struct id *b)
{
	return memcmp(a->byte, b->byte, ID_BYTES) == 0;
}

bool id_is_zero(const struct id *id)
{
	static const struct id zero;

	return id_equal(id, &zero);
}
