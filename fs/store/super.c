/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The super block: decode, choose, publish. Format: format.h. */
#include "fs/store/super.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/store/slot.h"
#include "fs/util/hash.h"

#define COPIES 2

static uint64_t super_sum(const struct format_super *raw)
{
	return hash64(raw, offsetof(struct format_super, sum), 0);
}

static int check_features(const struct format_super *raw, struct err *err)
{
	uint64_t unknown = (le64_get(raw->incompat) & ~FORMAT_INCOMPAT_KNOWN) |
		(le64_get(raw->ro_compat) & ~FORMAT_RO_COMPAT_KNOWN);

	uint32_t version = le32_get(raw->version);

	if (version < FORMAT_VERSION) {
		err_set(err, -EOPNOTSUPP, "format version %" PRIu32 " is from before the first release",
			version);
		err_hint(err, "export it with the lazyclone that made it");
		return -EOPNOTSUPP;
	}
	if (version == FORMAT_VERSION && !unknown)
		return 0;
	if (unknown)
		err_set(err, -EOPNOTSUPP, "unknown features 0x%" PRIx64, unknown);
	else
		err_set(err, -EOPNOTSUPP, "format version %" PRIu32 " is not known here", version);
	err_hint(err, "a newer lazyclone made this; update this one");
	return -EOPNOTSUPP;
}

static bool size_valid(uint64_t size_bytes)
{
	return size_bytes > 0 && size_bytes <= DELTA_SIZE_MAX && size_bytes % 512 == 0;
}

int super_decode(const struct format_super *raw, struct super *ret_super, struct err *err)
{
	struct super s = {0};
	int rc;

	if (le64_get(raw->magic) != FORMAT_SUPER_MAGIC)
		return err_set(err, -EUCLEAN, "no super block");
	if (le64_get(raw->sum) != super_sum(raw))
		return err_set(err, -EUCLEAN, "wrong checksum");
	rc = check_features(raw, err);
	if (rc < 0)
		return rc;
	memcpy(s.id.byte, raw->id, ID_BYTES);
	for (int i = 0; i < FORMAT_KEY_WORDS; i++)
		s.key[i] = le64_get(raw->key[i]);
	s.generation = le64_get(raw->generation);
	s.size_bytes = le64_get(raw->size_bytes);
	s.epoch = le64_get(raw->epoch);
	s.life_seq = le64_get(raw->life_seq);
	s.life_slot = le32_get(raw->life_slot);
	memcpy(s.host.byte, raw->host, ID_BYTES);
	memcpy(s.boot.byte, raw->boot, ID_BYTES);
	s.layer = le64_get(raw->incompat) & FORMAT_INCOMPAT_LAYER;
	s.clean = le64_get(raw->flags) & FORMAT_SUPER_CLEAN;
	s.end_seq = le64_get(raw->end_seq);
	s.end_off = le64_get(raw->end_off);
	s.end_sum = le64_get(raw->end_sum);
	s.durable_lsn = le64_get(raw->durable_lsn);
	s.written_sec = le64_get(raw->written_sec);
	if (!size_valid(s.size_bytes) || le32_get(raw->block_shift) != DELTA_BLOCK_SHIFT)
		return err_set(err, -EUCLEAN, "impossible disk size %" PRIu64, s.size_bytes);
	if (s.generation >= FORMAT_COUNTER_MAX || s.durable_lsn >= FORMAT_COUNTER_MAX ||
		s.life_seq >= FORMAT_COUNTER_MAX || s.end_seq >= FORMAT_COUNTER_MAX ||
		s.life_slot >= SLOT_COUNT_MAX)
		return err_set(err, -EUCLEAN, "impossible counters");
	*ret_super = s;
	return 0;
}

void super_encode(const struct super *super, struct format_super *ret_raw)
{
	memset(ret_raw, 0, sizeof(*ret_raw));
	ret_raw->magic = le64_put(FORMAT_SUPER_MAGIC);
	ret_raw->version = le32_put(FORMAT_VERSION);
	ret_raw->block_shift = le32_put(DELTA_BLOCK_SHIFT);
	memcpy(ret_raw->id, super->id.byte, ID_BYTES);
	for (int i = 0; i < FORMAT_KEY_WORDS; i++)
		ret_raw->key[i] = le64_put(super->key[i]);
	ret_raw->generation = le64_put(super->generation);
	ret_raw->size_bytes = le64_put(super->size_bytes);
	ret_raw->epoch = le64_put(super->epoch);
	ret_raw->life_seq = le64_put(super->life_seq);
	ret_raw->life_slot = le32_put(super->life_slot);
	ret_raw->incompat = le64_put(super->layer ? FORMAT_INCOMPAT_LAYER : 0);
	memcpy(ret_raw->host, super->host.byte, ID_BYTES);
	memcpy(ret_raw->boot, super->boot.byte, ID_BYTES);
	ret_raw->flags = le64_put(super->clean ? FORMAT_SUPER_CLEAN : 0);
	ret_raw->end_seq = le64_put(super->end_seq);
	ret_raw->end_off = le64_put(super->end_off);
	ret_raw->end_sum = le64_put(super->end_sum);
	ret_raw->durable_lsn = le64_put(super->durable_lsn);
	ret_raw->written_sec = le64_put(super->written_sec);
	ret_raw->sum = le64_put(super_sum(ret_raw));
}

int super_read(const struct io_gate *io, int fd, struct super *ret_super, bool *ret_whole,
	struct err *err)
{
	struct format_super raw;
	struct super s, best = {0};
	int found = 0, rc = -EUCLEAN;

	err_set(err, -EUCLEAN, "no super block");
	for (int i = 0; i < COPIES; i++) {
		int one = io_read_full(io, fd, &raw, sizeof(raw), (uint64_t)i * FORMAT_PAGE);

		if (one == -ENODATA)
			continue;
		if (one == 0)
			one = super_decode(&raw, &s, err);
		else
			err_sys(err, one, "cannot read the super block");
		if (one < 0 && one != -EUCLEAN)
			return one; /* too new, or the device fails: do not fall back */
		if (one == 0 && (!found++ || s.generation > best.generation))
			best = s;
	}
	if (!found)
		return rc;
	*ret_super = best;
	if (ret_whole)
		*ret_whole = found == COPIES;
	return 0;
}

int super_write(const struct io_gate *io, int fd, struct super *super)
{
	struct super next = *super;
	struct format_super raw;
	int rc;

	next.generation++;
	if (next.generation >= FORMAT_COUNTER_MAX) /* nobody could read it */
		return -EOVERFLOW;
	super_encode(&next, &raw);
	rc = io_write_full(
		io, fd, &raw, sizeof(raw), next.generation % COPIES * (uint64_t)FORMAT_PAGE);
	if (rc < 0)
		return rc;
	if (io->fdatasync(io, fd) < 0)
		return -EIO;
	super->generation = next.generation;
	return 0;
}

int super_create(const struct io_gate *io, int fd, const struct id *id, uint64_t size_bytes)
{
	struct format_super raw[COPIES];
	struct super s = {
		.id = *id,
		.generation = 1,
		.size_bytes = size_bytes,
		.clean = true,
	};
	int rc;

	if (!size_valid(size_bytes))
		return -EINVAL;
	random_bytes(s.key, sizeof(s.key));
	super_encode(&s, &raw[1]);
	s.generation = 0;
	super_encode(&s, &raw[0]);
	rc = io_write_full(io, fd, raw, sizeof(raw), 0);
	return rc < 0 ? rc : io->fdatasync(io, fd);
}

/* Hexadecimal digits of a file as an id; dashes are skipped. */
static void id_from_file(const char *path, struct id *ret_id)
{
	char text[64] = "", digits[ID_TEXT] = "";
	size_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i < len && n < ID_TEXT - 1; i++)
		if (text[i] != '-' && text[i] != '\n')
			digits[n++] = text[i];
	if (id_parse(digits, ret_id) < 0)
		memset(ret_id, 0, sizeof(*ret_id));
}

void super_self(struct id *ret_host, struct id *ret_boot)
{
	id_from_file("/etc/machine-id", ret_host);
	id_from_file("/proc/sys/kernel/random/boot_id", ret_boot);
}
