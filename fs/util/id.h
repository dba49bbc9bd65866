/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random 128-bit identifiers of stores, clones and logs, and random numbers.
 *
 * Text form: 32 lower-case hexadecimal digits, no dashes, so that an id is
 * also a file name.
 */
#ifndef FS_UTIL_ID_H
#define FS_UTIL_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_BYTES 16
#define ID_TEXT (2 * ID_BYTES + 1)

struct id {
	uint8_t byte[ID_BYTES];
};

/* Fill buf from the kernel's generator; never fails after boot. */
void random_bytes(void *buf, size_t len);

/* A random number that is not zero. */
uint64_t random_u64(void);

struct id id_new(void);
void id_format(const struct id *id, char text[static ID_TEXT]);

/* 0 or -EINVAL; *ret_id untouched on failure. */
int id_parse(const char *text, struct id *ret_id);

bool id_equal(const struct id *a, const struct id *b);
bool id_is_zero(const struct id *id); /* names nothing */

#endif
