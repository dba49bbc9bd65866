/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as a qcow2 image. room: fs/base */
#include <stdint.h>
#include <string.h>

#include "fs/util/round.h"
#include "tests/lib/cow.h"
#include "tests/lib/cowwalk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SPREAD 16384u

/* Images with subclusters have large clusters. So that a small input can be
 * one, its bytes behind the first sector are taken for the second cluster, and
 * zeros follow. */
static void spread(struct cow *cow, const uint8_t *data, size_t size)
{
	static uint8_t image[5 * SPREAD];

	memset(image, 0, sizeof(image));
	memcpy(image, data, 512);
	memcpy(image + SPREAD, data + 512, (size_t)min_u64(size - 512, 4 * SPREAD));
	cow_wrap(cow, image, sizeof(image));
}

static bool has_subclusters(const uint8_t *data, size_t size)
{
	const struct qcow2_disk_header *header = (const void *)data;

	return size >= 512 && be32_get(header->version) == 3 &&
	       be64_get(header->incompatible) & QCOW2_EXTENDED_L2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cow cow;

	if (size == 0)
		return 0;
	if (has_subclusters(data, size))
		spread(&cow, data, size);
	else
		cow_wrap(&cow, data, size);
	cowwalk(&cow);
	cow_free(&cow);
	return 0;
}
