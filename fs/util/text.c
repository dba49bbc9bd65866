/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Validity of text: see text.h. */
#include "fs/util/text.h"

#include <stdint.h>

/* Code point at *p, which moves behind it; 0 at the end, -1 if malformed. */
static int32_t next_code_point(const unsigned char **p)
{
	static const int32_t least[] = {0, 0x80, 0x800, 0x10000};
	const unsigned char *s = *p;
	int32_t code = *s++;
	int more = code < 0x80 ? 0 : code >= 0xf0 ? 3 : code >= 0xe0 ? 2 : 1;

	if (code == 0)
		return 0;
	if (more > 0) {
		if (code < 0xc2 || code > 0xf4)
			return -1;
		code &= 0x3f >> more;
	}
	for (int i = 0; i < more; i++, s++) {
		if ((*s & 0xc0) != 0x80)
			return -1;
		code = code << 6 | (*s & 0x3f);
	}
	if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return -1;
	*p = s;
	return code;
}

bool text_is_utf8(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	int32_t code;

	while ((code = next_code_point(&p)) > 0)
		;
	return code == 0;
}

bool text_is_plain(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	int32_t code;

	while ((code = next_code_point(&p)) > 0) {
		if (code < 0x20 || (code >= 0x7f && code < 0xa0))
			return false;
	}
	return code == 0;
}
