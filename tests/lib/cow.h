/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qcow2 images in memory, built field by field, and read through the reader's seam. */
#ifndef TESTS_LIB_COW_H
#define TESTS_LIB_COW_H

#include <stdatomic.h>
#include <stdint.h>

#include "fs/base/bytes.h"
#include "fs/base/qcow2-format.h"

/* Bytes of an image, whoever made them. */
struct cow {
	uint8_t *data;
	uint64_t len;
	uint64_t room;
	struct bytes bytes;    /* of = this; size_bytes is len */
	_Atomic uint64_t reads;
	_Atomic int fail;      /* every read's result, when not 0 */
	_Atomic bool cold;     /* reads that must not wait get -EAGAIN */

	uint32_t cluster_bits;
	uint32_t entry_bytes;
};

/* An empty image: header, refcount table, an L1 table for size_bytes. */
void cow_make(struct cow *cow, uint32_t version, uint32_t cluster_bits, uint64_t size_bytes,
	uint64_t incompatible);
/* These bytes, copied. */
void cow_wrap(struct cow *cow, const void *data, uint64_t len);
void cow_free(struct cow *cow);

/* Valid until something is added. */
struct qcow2_disk_header *cow_header(struct cow *cow);

/* A new cluster of zeros at the end; its offset. */
uint64_t cow_add_cluster(struct cow *cow);
/* These bytes at the end, right after what is there. */
uint64_t cow_append(struct cow *cow, const void *data, uint64_t len);

/* A new cluster of pattern bytes: cow_byte() of the guest offset. */
uint64_t cow_add_data(struct cow *cow, uint64_t guest_off);
uint8_t cow_byte(uint64_t guest_off);

/* Set the L1 entry, the L2 entry or the bitmap for a guest offset. Adds the L2
 * table if there is none. */
void cow_set_l1(struct cow *cow, uint64_t guest_off, uint64_t entry);
void cow_set(struct cow *cow, uint64_t guest_off, uint64_t entry);
void cow_set_bitmap(struct cow *cow, uint64_t guest_off, uint64_t bitmap);

/* A header extension behind those there are; before the end mark. */
void cow_add_extension(struct cow *cow, uint32_t type, const void *data, uint32_t len);
void cow_set_backing(struct cow *cow, const char *name);

/* A compressed L2 entry. */
uint64_t cow_packed_entry(const struct cow *cow, uint64_t host_off, uint64_t more_sectors);

#endif
