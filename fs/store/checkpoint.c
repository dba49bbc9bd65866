/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checkpoints: written beside the old one and renamed, read in one pass. See checkpoint.h.
 *
 * What may be lost: nothing, as the log holds all that a checkpoint says. A
 * crash or failure before the rename leaves the old one and NAME.ckpt.tmp,
 * which the next write truncates and checkpoint_remove() deletes; after the
 * rename, before the directory's sync, either is found, and both are whole:
 * the content is synced before it gets its name. What a file system loses or
 * bends nevertheless does not match the sum. (test-checkpoint cuts and fails
 * each call.)
 */
#include "fs/store/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/store/delta.h"
#include "fs/store/slot.h"
#include "fs/util/cleanup.h"
#include "fs/util/hash.h"
#include "fs/util/round.h"

#define FILE_MODE 0600
#define NAME_TEXT (ID_TEXT + 16)

/* Bytes that go to or come from the file at once: all the memory it takes. */
#define BUFFER_BYTES (UINT64_C(1) << 20)

/* A file that is written or read from its begin to its end, summed on the way. */
struct stream {
	const struct io_gate *io;
	int fd;
	const uint8_t *bytes; /* to read from instead of fd, or NULL */
	uint64_t off, size;   /* size: when reading */
	struct hash64_stream *sum;
	uint8_t *buf; /* BUFFER_BYTES, or the whole file when it is smaller */
	uint64_t n;   /* in buf, when writing */
};

static int stream_begin(struct stream *s, const struct super *super, uint64_t bytes)
{
	s->sum = hash64_begin(super->key[0]);
	s->buf = malloc(min_u64(bytes, BUFFER_BYTES));
	return s->sum && s->buf ? 0 : -ENOMEM;
}

static void stream_end(struct stream *s)
{
	hash64_free(s->sum);
	free(s->buf);
}

static void ckpt_name(const char *name, const char *suffix, char text[static NAME_TEXT])
{
	snprintf(text, NAME_TEXT, "%.32s.ckpt%s", name, suffix);
}

static uint64_t slots_bytes(uint32_t n_slots)
{
	return round_up((uint64_t)n_slots * sizeof(struct format_slot), FORMAT_PAGE);
}

static uint64_t file_bytes(uint32_t n_slots, uint64_t units)
{
	return sizeof(struct format_checkpoint) + slots_bytes(n_slots) +
		units * sizeof(struct index_entry) + sizeof(le64);
}

void checkpoint_release(struct checkpoint *checkpoint)
{
	free(checkpoint->slots);
	memset(checkpoint, 0, sizeof(*checkpoint));
}

/* ---- writing ---- */

static int put_out(struct stream *s)
{
	int rc = io_write_full(s->io, s->fd, s->buf, s->n, s->off);

	hash64_add(s->sum, s->buf, s->n);
	s->off += s->n;
	s->n = 0;
	return rc;
}

static int put(struct stream *s, const void *data, size_t len)
{
	int rc = s->n + len > BUFFER_BYTES ? put_out(s) : 0;

	memcpy(s->buf + s->n, data, len);
	s->n += len;
	return rc;
}

static int put_header(struct stream *s, const struct super *super,
	const struct checkpoint *checkpoint, uint64_t units)
{
	const struct checkpoint_place *place = &checkpoint->place;
	struct format_checkpoint raw = {
		.magic = le64_put(FORMAT_CHECKPOINT_MAGIC),
		.version = le32_put(FORMAT_VERSION),
		.slots = le32_put(checkpoint->n_slots),
		.lsn = le64_put(place->lsn),
		.seq = le64_put(place->seq),
		.off = le64_put(place->off),
		.chain = le64_put(place->chain),
		.units = le64_put(units),
		.size_bytes = le64_put(place->size_bytes),
		.written_sec = le64_put(place->written_sec),
	};

	memcpy(raw.id, super->id.byte, ID_BYTES);
	return put(s, &raw, sizeof(raw));
}

static int put_slots(struct stream *s, const struct checkpoint *checkpoint)
{
	static const uint8_t zeros[FORMAT_PAGE];
	uint64_t bytes = (uint64_t)checkpoint->n_slots * sizeof(struct format_slot);
	int rc = 0;

	for (uint32_t i = 0; i < checkpoint->n_slots && rc == 0; i++) {
		const struct checkpoint_slot *slot = &checkpoint->slots[i];
		struct format_slot raw = {
			.seq = le64_put(slot->seq),
			.epoch = le64_put(slot->epoch),
			.first_lsn = le64_put(slot->first_lsn),
			.flags = le32_put(slot->flags),
		};

		rc = put(s, &raw, sizeof(raw));
	}
	return rc < 0 ? rc : put(s, zeros, slots_bytes(checkpoint->n_slots) - bytes);
}

static int put_entries(struct stream *s, const struct index_image *image)
{
	int rc = 0;

	for (uint64_t i = 0; i < image->n && rc == 0; i++) {
		le64 raw[2] = {le64_put(image->entry[i].key), le64_put(image->entry[i].val)};

		rc = put(s, raw, sizeof(raw));
	}
	return rc;
}

/* What the buffer still holds, and the sum of all. */
static int put_sum(struct stream *s)
{
	int rc = put_out(s);
	le64 sum = le64_put(hash64_so_far(s->sum));

	return rc < 0 ? rc : io_write_full(s->io, s->fd, &sum, sizeof(sum), s->off);
}

static int write_content(struct stream *s, const struct super *super,
	const struct checkpoint *checkpoint, const struct index_image *image)
{
	int rc = stream_begin(s, super, file_bytes(checkpoint->n_slots, image->n));

	if (rc == 0)
		rc = put_header(s, super, checkpoint, image->n);
	if (rc == 0)
		rc = put_slots(s, checkpoint);
	if (rc == 0)
		rc = put_entries(s, image);
	if (rc == 0)
		rc = put_sum(s);
	if (rc == 0)
		rc = s->io->fdatasync(s->io, s->fd);
	stream_end(s);
	return rc;
}

int checkpoint_write(const struct io_gate *io, int dirfd, const char *name,
	const struct super *super, struct checkpoint *checkpoint,
	const struct index_image *image)
{
	struct stream s = {.io = io};
	char temp[NAME_TEXT], file[NAME_TEXT];
	int rc;

	ckpt_name(name, "", file);
	ckpt_name(name, ".tmp", temp);
	s.fd = io->openat(io, dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, FILE_MODE);
	if (s.fd < 0)
		return s.fd;
	rc = write_content(&s, super, checkpoint, image);
	io->close(io, s.fd);
	if (rc == 0)
		rc = io->renameat(io, dirfd, temp, dirfd, file, 0);
	if (rc < 0) {
		io->unlinkat(io, dirfd, temp, 0);
		return rc;
	}
	checkpoint->bytes = file_bytes(checkpoint->n_slots, image->n);
	return io_fsync_dir(io, dirfd, ".");
}

/* ---- reading ---- */

/* The next len bytes, which the caller knows to be there. */
static int take(struct stream *s, void *buf, size_t len)
{
	int rc = 0;

	if (s->bytes)
		memcpy(buf, s->bytes + s->off, len);
	else
		rc = io_read_full(s->io, s->fd, buf, len, s->off);
	s->off += len;
	return rc;
}

static int take_summed(struct stream *s, void *buf, size_t len)
{
	int rc = take(s, buf, len);

	if (rc == 0)
		hash64_add(s->sum, buf, len);
	return rc;
}

static bool place_valid(const struct checkpoint_place *place, const struct super *super)
{
	return place->lsn < FORMAT_COUNTER_MAX && place->seq < FORMAT_COUNTER_MAX &&
		place->size_bytes > 0 && place->size_bytes <= super->size_bytes &&
		place->off <= SLOT_FULL_BYTES && place->off % 8 == 0 &&
		(place->seq ? place->off >= FORMAT_PAGE : place->off == 0 && place->lsn == 0);
}

static uint64_t disk_blocks(const struct checkpoint *checkpoint)
{
	return (checkpoint->place.size_bytes + DELTA_BLOCK_BYTES - 1) >> DELTA_BLOCK_SHIFT;
}

/* The file's size bounds all counts. */
static int take_header(struct stream *s, const struct super *super,
	struct checkpoint *checkpoint, uint64_t *ret_units)
{
	struct checkpoint_place *place = &checkpoint->place;
	struct format_checkpoint raw;
	int rc = take_summed(s, &raw, sizeof(raw));

	if (rc < 0)
		return rc;
	checkpoint->n_slots = le32_get(raw.slots);
	place->lsn = le64_get(raw.lsn);
	place->seq = le64_get(raw.seq);
	place->off = le64_get(raw.off);
	place->chain = le64_get(raw.chain);
	place->size_bytes = le64_get(raw.size_bytes);
	place->written_sec = le64_get(raw.written_sec);
	*ret_units = le64_get(raw.units);
	if (le64_get(raw.magic) != FORMAT_CHECKPOINT_MAGIC ||
		le32_get(raw.version) != FORMAT_VERSION ||
		memcmp(raw.id, super->id.byte, ID_BYTES) != 0 || !place_valid(place, super) ||
		checkpoint->n_slots > SLOT_COUNT_MAX || *ret_units > disk_blocks(checkpoint) ||
		file_bytes(checkpoint->n_slots, *ret_units) != s->size)
		return -EUCLEAN;
	checkpoint->bytes = s->size;
	return 0;
}

static bool slot_valid(const struct checkpoint_slot *slot)
{
	uint32_t state = slot->flags & (FORMAT_SLOT_FREE | FORMAT_SLOT_USED);
	uint32_t more = slot->flags & ~state;

	if (slot->seq >= FORMAT_COUNTER_MAX || slot->first_lsn > FORMAT_COUNTER_MAX)
		return false;
	if (state == FORMAT_SLOT_USED)
		return slot->seq > 0 && !(more & ~(FORMAT_SLOT_SEALED | FORMAT_SLOT_OTHER));
	return more == 0 && (state == FORMAT_SLOT_FREE || (state == 0 && slot->seq == 0));
}

static int take_slots(struct stream *s, struct checkpoint *checkpoint)
{
	uint64_t bytes = slots_bytes(checkpoint->n_slots);
	AUTO_FREE struct format_slot *raw = malloc(bytes + 1);
	int rc;

	checkpoint->slots = calloc((size_t)checkpoint->n_slots + 1, sizeof(*checkpoint->slots));
	if (!raw || !checkpoint->slots)
		return -ENOMEM;
	rc = take_summed(s, raw, bytes);
	for (uint32_t i = 0; i < checkpoint->n_slots && rc == 0; i++) {
		struct checkpoint_slot *slot = &checkpoint->slots[i];

		slot->seq = le64_get(raw[i].seq);
		slot->epoch = le64_get(raw[i].epoch);
		slot->first_lsn = le64_get(raw[i].first_lsn);
		slot->flags = le32_get(raw[i].flags);
		if (!slot_valid(slot))
			rc = -EUCLEAN;
	}
	return rc;
}

/* Bytes of n entries into entries, in place. */
static void entries_from_disk(struct index_entry *entry, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		le64 raw[2];

		memcpy(raw, &entry[i], sizeof(raw));
		entry[i] = (struct index_entry){le64_get(raw[0]), le64_get(raw[1])};
	}
}

/* What index_load() leaves of one piece comes first in the next. */
static int take_entries(struct stream *s, const struct checkpoint *checkpoint, uint64_t units,
	struct index *index)
{
	struct index_entry *entry = (struct index_entry *)s->buf;
	const uint64_t room = min_u64(s->size, BUFFER_BYTES) / sizeof(*entry);
	uint64_t left = units, kept = 0, taken;
	int rc = 0;

	while (left > 0 && rc == 0) {
		uint64_t n = min_u64(left, room - kept);

		rc = take_summed(s, entry + kept, n * sizeof(*entry));
		if (rc < 0)
			break;
		entries_from_disk(entry + kept, n);
		left -= n;
		n += kept;
		rc = index_load(index, entry, n, disk_blocks(checkpoint), &taken);
		if (rc < 0)
			break;
		kept = n - taken;
		memmove(entry, entry + taken, kept * sizeof(*entry));
	}
	return rc == 0 && kept > 0 ? -EUCLEAN : rc;
}

static int take_sum(struct stream *s)
{
	uint64_t sum = hash64_so_far(s->sum);
	le64 raw;
	int rc = take(s, &raw, sizeof(raw));

	if (rc < 0)
		return rc;
	return le64_get(raw) == sum ? 0 : -EUCLEAN;
}

/* Blocks live in slots that hold a segment; the log goes on in one, too. */
static int check_slots(const struct checkpoint *checkpoint, struct index *index)
{
	const struct checkpoint_place *place = &checkpoint->place;
	bool found = place->seq == 0;

	for (uint32_t i = 0; i < checkpoint->n_slots; i++) {
		const struct checkpoint_slot *slot = &checkpoint->slots[i];
		bool used = slot->flags & FORMAT_SLOT_USED;

		if (!used && index_slot_live(index, i) > 0)
			return -EUCLEAN;
		if (used && slot->seq == place->seq && place->off <= slot_bytes(i))
			found = true;
	}
	return found ? 0 : -EUCLEAN;
}

static int take_all(struct stream *s, const struct super *super, struct checkpoint *checkpoint,
	struct index *index)
{
	uint64_t units = 0;
	int rc = s->size < file_bytes(0, 0) ? -EUCLEAN : stream_begin(s, super, s->size);

	if (rc == 0)
		rc = take_header(s, super, checkpoint, &units);
	if (rc == 0)
		rc = take_slots(s, checkpoint);
	if (rc == 0)
		rc = index_cover_slots(index, checkpoint->n_slots);
	if (rc == 0)
		rc = take_entries(s, checkpoint, units, index);
	if (rc == 0)
		rc = take_sum(s);
	if (rc == 0)
		rc = check_slots(checkpoint, index);
	return rc;
}

/* Nothing is trusted before the sum, and nothing is left behind without it. */
static int decode(struct stream *s, const struct super *super,
	struct checkpoint *ret_checkpoint, struct index *index)
{
	int rc;

	memset(ret_checkpoint, 0, sizeof(*ret_checkpoint));
	rc = take_all(s, super, ret_checkpoint, index);
	stream_end(s);
	if (rc == 0)
		return 0;
	index_clear(index);
	checkpoint_release(ret_checkpoint);
	return rc == -ENOMEM ? rc : -EUCLEAN;
}

int checkpoint_decode(const uint8_t *bytes, size_t len, const struct super *super,
	struct checkpoint *ret_checkpoint, struct index *index)
{
	struct stream s = {.bytes = bytes, .size = len};

	return decode(&s, super, ret_checkpoint, index);
}

int checkpoint_read(const struct io_gate *io, int dirfd, const char *name,
	const struct super *super, struct checkpoint *ret_checkpoint, struct index *index)
{
	struct stream s = {.io = io};
	char file[NAME_TEXT];
	struct stat st;
	int rc;

	ckpt_name(name, "", file);
	s.fd = io->openat(io, dirfd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (s.fd < 0)
		return s.fd == -ENOENT ? s.fd : -EUCLEAN;
	if (fstat(s.fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		io->close(io, s.fd);
		return -EUCLEAN;
	}
	/* All of it is wanted: let the device begin while the first is checked. */
	posix_fadvise(s.fd, 0, 0, POSIX_FADV_WILLNEED);
	s.size = (uint64_t)st.st_size;
	rc = decode(&s, super, ret_checkpoint, index);
	io->close(io, s.fd);
	return rc;
}

static int remove_one(const struct io_gate *io, int dirfd, const char *name, const char *suffix)
{
	char file[NAME_TEXT];
	int rc;

	ckpt_name(name, suffix, file);
	rc = io->unlinkat(io, dirfd, file, 0);
	return rc == -ENOENT ? 0 : rc;
}

int checkpoint_remove(const struct io_gate *io, int dirfd, const char *name)
{
	int temp_rc = remove_one(io, dirfd, name, ".tmp");
	int rc = remove_one(io, dirfd, name, "");

	return rc < 0 ? rc : temp_rc;
}
