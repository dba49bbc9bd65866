/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as a checkpoint. room: fs/store
 *
 * The first byte: bit 0 clear, the rest is the file. Set, it is a recipe, so
 * that what lies behind the checksum is reached: the second byte says how many
 * slots, then come the fields of the header (88 bytes), 28 bytes for each slot
 * and 16 for each unit of the index; magic, version, id, sizes and checksum
 * are put in order.
 *
 * Whatever is accepted can be walked through and its sums add up; copied and
 * loaded it is the same; and it takes updates.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/checkpoint.h"
#include "fs/store/slot.h"
#include "fs/util/hash.h"
#include "fs/util/round.h"

#define SLOTS_MAX 9u
#define UNITS_MAX 4096u
#define PUTS 8

static struct super super = {.key = {1, 2}, .size_bytes = DELTA_SIZE_MAX};

static void need(bool truth, const char *what)
{
	if (truth)
		return;
	fprintf(stderr, "fuzz-checkpoint: %s\n", what);
	abort();
}

struct input {
	const uint8_t *data;
	size_t left;
};

/* As many bytes as there are, zeros for the rest. */
static void take(struct input *in, void *out, size_t len)
{
	size_t n = min_u64(len, in->left);

	memset(out, 0, len);
	memcpy(out, in->data, n);
	in->data += n;
	in->left -= n;
}

/* The file that the recipe says. */
static uint8_t *cook(struct input *in, size_t *ret_len)
{
	static uint8_t file[4096 + 4096 + UNITS_MAX * 16 + 8];
	struct format_checkpoint head;
	struct format_slot slot;
	uint8_t n_slots;
	size_t units, at;
	le64 sum;

	take(in, &n_slots, 1);
	n_slots %= SLOTS_MAX + 1;
	memset(&head, 0, sizeof(head));
	take(in, &head, 88);
	memset(file, 0, 2 * 4096);
	for (uint32_t i = 0; i < n_slots; i++) {
		memset(&slot, 0, sizeof(slot));
		take(in, &slot, 28);
		memcpy(file + 4096 + i * sizeof(slot), &slot, sizeof(slot));
	}
	at = n_slots ? 8192 : 4096;
	units = min_u64(in->left / 16, UNITS_MAX);
	take(in, file + at, units * 16);
	head.magic = le64_put(FORMAT_CHECKPOINT_MAGIC);
	head.version = le32_put(FORMAT_VERSION);
	memcpy(head.id, super.id.byte, ID_BYTES);
	head.slots = le32_put(n_slots);
	head.units = le64_put(units);
	memcpy(file, &head, sizeof(head));
	at += units * 16;
	sum = le64_put(hash64(file, at, super.key[0]));
	memcpy(file + at, &sum, sizeof(sum));
	*ret_len = at + sizeof(sum);
	return file;
}

/* Every block has one owner, every place lies in its slot, the sums add up. */
static void walk(struct index *index, const struct checkpoint *checkpoint, uint64_t blocks)
{
	uint64_t live[SLOTS_MAX] = {0}, data = 0, payload = 0, run = 0;
	struct delta_stats stats = {0};

	for (uint64_t block = 0; block < blocks; block += run) {
		struct index_place place[DELTA_BLOCKS_MAX];
		enum delta_owner owner = index_get(index, block,
			min_u64(blocks - block, DELTA_BLOCKS_MAX), &run, place);

		need(run > 0, "an empty run");
		if (owner != DELTA_DATA) {
			index_get(index, block, blocks - block, &run, NULL);
			continue;
		}
		for (uint64_t i = 0; i < run; i++) {
			uint32_t slot = slot_of(place[i].pos);

			need(slot < checkpoint->n_slots, "a place outside of the log");
			live[slot] += FORMAT_BLOCK_SUM + place[i].len;
			payload += place[i].len;
		}
		data += run;
	}
	for (uint32_t slot = 0; slot < checkpoint->n_slots; slot++)
		need(index_slot_live(index, slot) == live[slot], "wrong live bytes of a slot");
	index_stats(index, &stats);
	need(stats.data_blocks == data && stats.live_bytes == payload, "wrong sums");
}

/* Copied and loaded, it is the same. */
static void compare_loaded(struct index *index, uint32_t n_slots, uint64_t blocks)
{
	struct index_image image, again;
	struct index loaded;
	uint64_t taken = 0;

	need(index_init(&loaded) == 0 && index_cover_slots(&loaded, n_slots) == 0 &&
		index_image(index, &image) == 0, "no memory");
	if (image.n > 0)
		need(index_load(&loaded, image.entry, image.n, blocks, &taken) == 0,
			"an index's own image is refused");
	need(taken == image.n && index_image(&loaded, &again) == 0 && again.n == image.n &&
		memcmp(again.entry, image.entry, image.n * sizeof(*image.entry)) == 0,
		"the image of an image is another");
	index_release(&loaded);
	free(image.entry);
	free(again.entry);
}

/* Updates here and there, close to where something is. */
static void update(struct index *index, uint32_t n_slots, uint64_t blocks, uint64_t seed)
{
	uint64_t run;

	for (int i = 0; i < PUTS; i++) {
		uint64_t block = hash64(&i, sizeof(i), seed) % blocks;
		uint32_t n = (uint32_t)min_u64(1 + seed % 20, blocks - block);
		struct index_place place[20];
		uint64_t pos = FORMAT_PAGE + 64 + (seed >> 8) % 10000 * 8;

		if (index_get(index, block, blocks - block, &run, NULL) == DELTA_ABSENT &&
			block + run + n <= blocks)
			block += run;
		need(index_reserve(index, index_pages_for(n)) == 0, "no memory");
		if (i % 3 == 0 || n_slots == 0) {
			index_put_zero(index, block, n);
			continue;
		}
		for (uint32_t k = 0; k < n; k++) {
			place[k] = (struct index_place){pos, (uint16_t)(1 + (seed >> k) % 4096)};
			pos += FORMAT_BLOCK_SUM + place[k].len;
		}
		index_put_data(index, block, n, place);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct checkpoint checkpoint;
	struct index index;
	uint8_t flags;

	take(&in, &flags, 1);
	if (flags & 1)
		in.data = cook(&in, &in.left);
	need(index_init(&index) == 0, "no memory");
	if (checkpoint_decode(in.data, in.left, &super, &checkpoint, &index) == 0) {
		uint64_t blocks = (checkpoint.place.size_bytes + DELTA_BLOCK_BYTES - 1) >>
			DELTA_BLOCK_SHIFT;

		walk(&index, &checkpoint, blocks);
		compare_loaded(&index, checkpoint.n_slots, blocks);
		update(&index, checkpoint.n_slots, blocks, hash64(data, size, 0));
		walk(&index, &checkpoint, blocks);
		compare_loaded(&index, checkpoint.n_slots, blocks);
		checkpoint_release(&checkpoint);
	}
	index_release(&index);
	return 0;
}
