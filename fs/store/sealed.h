/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sealed JSON: small text files of the store that carry their own checksum.
 *
 * A sealed text is one JSON object with the members
 *
 *	"format"    what it is, "lazyclone store" or "lazyclone manifest"
 *	"version"   1; a reader refuses a higher one
 *	"checksum"  16 hexadecimal digits: XXH3 of the canonical text, which is
 *	            the object without this member, keys sorted, no white space
 *
 * so a half-written or edited file is told from a whole one, and white space
 * and order are free. It ends in a newline, for people.
 */
#ifndef FS_STORE_SEALED_H
#define FS_STORE_SEALED_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "fs/util/err.h"

/* Adds format, version and checksum to object (the caller keeps it). 0 or
 * -ENOMEM. Caller frees *ret_text, which is NUL-terminated. */
int sealed_format(json_t *object, const char *format, char **ret_text, size_t *ret_len);

/* Takes any bytes. -EUCLEAN with what is wrong: no JSON, another format, a
 * newer version, a wrong checksum. The caller json_decref()s *ret_object. */
int sealed_parse(const char *text, size_t len, const char *format, json_t **ret_object,
	struct err *err);

/* Was it made by a newer lazyclone, as far as one can tell? Then it is no damage. */
bool sealed_is_newer(const char *text, size_t len);

#endif
