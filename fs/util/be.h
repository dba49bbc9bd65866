/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Big-endian fields of on-disk structs, made as those of le.h: for formats of others. */
#ifndef FS_UTIL_BE_H
#define FS_UTIL_BE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

typedef struct {
	uint8_t byte[2];
} be16;
typedef struct {
	uint8_t byte[4];
} be32;
typedef struct {
	uint8_t byte[8];
} be64;

static inline uint16_t be16_get(be16 v)
{
	uint16_t raw;

	memcpy(&raw, v.byte, sizeof(raw));
	return be16toh(raw);
}

static inline uint32_t be32_get(be32 v)
{
	uint32_t raw;

	memcpy(&raw, v.byte, sizeof(raw));
	return be32toh(raw);
}

static inline uint64_t be64_get(be64 v)
{
	uint64_t raw;

	memcpy(&raw, v.byte, sizeof(raw));
	return be64toh(raw);
}

static inline be16 be16_put(uint16_t v)
{
	uint16_t raw = htobe16(v);
	be16 out;

	memcpy(out.byte, &raw, sizeof(raw));
	return out;
}

static inline be32 be32_put(uint32_t v)
{
	uint32_t raw = htobe32(v);
	be32 out;

	memcpy(out.byte, &raw, sizeof(raw));
	return out;
}

static inline be64 be64_put(uint64_t v)
{
	uint64_t raw = htobe64(v);
	be64 out;

	memcpy(out.byte, &raw, sizeof(raw));
	return out;
}

#endif
