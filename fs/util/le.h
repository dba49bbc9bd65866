/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Little-endian fields of on-disk structs.
 *
 * Each width is a type of its own made of bytes, so that a raw field cannot
 * be read by accident, structs pack without attributes and alignment never
 * matters.
 */
#ifndef FS_UTIL_LE_H
#define FS_UTIL_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

typedef struct {
	uint8_t byte[2];
} le16;
typedef struct {
	uint8_t byte[4];
} le32;
typedef struct {
	uint8_t byte[8];
} le64;

static inline uint16_t le16_get(le16 v)
{
	uint16_t raw;

	memcpy(&raw, v.byte, sizeof(raw));
	return le16toh(raw);
}

static inline uint32_t le32_get(le32 v)
{
	uint32_t raw;

	memcpy(&raw, v.byte, sizeof(raw));
	return le32toh(raw);
}

static inline uint64_t le64_get(le64 v)
{
	uint64_t raw;

	memcpy(&raw, v.byte, sizeof(raw));
	return le64toh(raw);
}

static inline le16 le16_put(uint16_t v)
{
	uint16_t raw = htole16(v);
	le16 out;

	memcpy(out.byte, &raw, sizeof(raw));
	return out;
}

static inline le32 le32_put(uint32_t v)
{
	uint32_t raw = htole32(v);
	le32 out;

	memcpy(out.byte, &raw, sizeof(raw));
	return out;
}

static inline le64 le64_put(uint64_t v)
{
	uint64_t raw = htole64(v);
	le64 out;

	memcpy(out.byte, &raw, sizeof(raw));
	return out;
}

#endif
