/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Header extensions and the names of other files: see qcow2-image.h.
 *
 * Extensions follow the header, one behind the other, up to an end mark, to
 * the backing file's name or to the end of the first cluster.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/qcow2-image.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

struct extension {
	uint32_t type;
	uint64_t off; /* of its data */
	uint32_t len;
};

/* The area of extensions, and how far into it one has come. */
struct walk {
	const struct bytes *file;
	uint64_t at;
	uint64_t end;
	uint32_t seen;
};

static struct walk walk_begin(const struct bytes *file, const struct qcow2_header *header)
{
	uint64_t end = UINT64_C(1) << header->cluster_bits;

	if (header->backing_off != 0)
		end = min_u64(end, header->backing_off);
	return (struct walk){file, header->len, min_u64(end, file->size_bytes), 0};
}

/* 1: *ret_ext is the next one. 0: there are no more. -EUCLEAN or a read's error. */
static int walk_next(struct walk *walk, struct extension *ret_ext)
{
	struct qcow2_disk_extension disk;
	int rc;

	if (outside(walk->at, sizeof(disk), walk->end))
		return 0;
	rc = walk->file->read(walk->file->of, &disk, sizeof(disk), walk->at, false);
	if (rc < 0)
		return rc;
	*ret_ext = (struct extension){
		be32_get(disk.type), walk->at + sizeof(disk), be32_get(disk.len)};
	if (ret_ext->type == QCOW2_EXT_END)
		return 0;
	if (outside(ret_ext->off, ret_ext->len, walk->end) || ++walk->seen > QCOW2_EXTENSIONS_MAX)
		return -EUCLEAN;
	walk->at = round_up(ret_ext->off + ret_ext->len, 8);
	return 1;
}

static bool printable(const char *text)
{
	for (; *text; text++) {
		if (*text < 0x20 || *text > 0x7e)
			return false;
	}
	return true;
}

static void feature_in(const struct bytes *file, const struct extension *ext, uint8_t bit,
	char text[static sizeof(((struct qcow2_disk_feature *)0)->name) + 1])
{
	struct qcow2_disk_feature feature;
	uint64_t n = min_u64(ext->len / sizeof(feature), QCOW2_FEATURES_MAX);

	for (uint64_t i = 0; i < n; i++) {
		if (file->read(file->of, &feature, sizeof(feature), ext->off + i * sizeof(feature),
			    false) < 0)
			return;
		if (feature.word != 0 || feature.bit != bit)
			continue;
		memcpy(text, feature.name, sizeof(feature.name));
		text[sizeof(feature.name)] = '\0';
		if (!printable(text))
			text[0] = '\0';
		return;
	}
}

void qcow2_feature_name(const struct bytes *file, const struct qcow2_header *header, uint8_t bit,
	char text[static sizeof(((struct qcow2_disk_feature *)0)->name) + 1])
{
	struct walk walk = walk_begin(file, header);
	struct extension ext;

	text[0] = '\0';
	while (walk_next(&walk, &ext) > 0) {
		if (ext.type == QCOW2_EXT_FEATURE_NAMES)
			feature_in(file, &ext, bit, text);
	}
}

/* A name as a string. Each may appear once; a NUL in it would make it another
 * name to whoever opens it. */
static int read_name(const struct bytes *file, uint64_t off, uint64_t len, const char *name,
	const char *what, char **ret_text, struct err *err)
{
	AUTO_FREE char *text = NULL;
	int rc;

	if (*ret_text)
		return err_set(err, -EUCLEAN, "%s: two names of the %s", name, what);
	if (len > QCOW2_NAME_MAX)
		return err_set(err, -EUCLEAN,
			"%s: name of the %s of %" PRIu64 " bytes (%d at most)", name, what, len,
			QCOW2_NAME_MAX);
	if (outside(off, len, file->size_bytes))
		return err_set(
			err, -EUCLEAN, "%s: name of the %s beyond the end of the file", name, what);
	text = calloc(1, len + 1);
	if (!text)
		return err_sys(err, -ENOMEM, "%s", name);
	rc = file->read(file->of, text, len, off, false);
	if (rc < 0)
		return err_sys(err, rc, "%s: cannot read the name of the %s", name, what);
	if (strlen(text) != len)
		return err_set(err, -EUCLEAN, "%s: a NUL in the name of the %s", name, what);
	*ret_text = steal_ptr(&text);
	return 0;
}

static int read_extensions(
	struct qcow2 *q, const struct qcow2_header *header, const char *name, struct err *err)
{
	struct walk walk = walk_begin(q->file, header);
	struct extension ext;
	int more;

	while ((more = walk_next(&walk, &ext)) > 0) {
		int rc = 0;

		if (ext.type == QCOW2_EXT_BACKING_FORMAT)
			rc = read_name(q->file, ext.off, ext.len, name, "backing file's format",
				&q->backing_format, err);
		if (ext.type == QCOW2_EXT_DATA_FILE)
			rc = read_name(
				q->file, ext.off, ext.len, name, "data file", &q->data_name, err);
		if (rc < 0)
			return rc;
	}
	if (more == -EUCLEAN)
		return err_set(err, more, "%s: damaged header extensions", name);
	return more < 0 ? err_sys(err, more, "%s: cannot read the header extensions", name) : 0;
}

static int read_backing(
	struct qcow2 *q, const struct qcow2_header *header, const char *name, struct err *err)
{
	uint64_t cluster_bytes = UINT64_C(1) << header->cluster_bits;

	if (header->backing_off == 0)
		return 0;
	if (header->backing_off < header->len ||
		(header->backing_len <= QCOW2_NAME_MAX &&
			outside(header->backing_off, header->backing_len, cluster_bytes)))
		return err_set(err, -EUCLEAN,
			"%s: name of the backing file outside of the header's cluster", name);
	if (header->backing_len == 0)
		return 0;
	return read_name(q->file, header->backing_off, header->backing_len, name, "backing file",
		&q->backing_name, err);
}

/* A data file's name where the image has none of that kind means nothing. */
static int check_data_name(
	struct qcow2 *q, const struct qcow2_header *header, const char *name, struct err *err)
{
	if (!(header->incompatible & QCOW2_DATA_FILE)) {
		free(q->data_name);
		q->data_name = NULL;
		return 0;
	}
	if (!q->data_name || !q->data_name[0])
		return err_set(err, -EOPNOTSUPP,
			"%s: its clusters lie in another file, which it does not name", name);
	if (header->raw_data && q->backing_name)
		return err_set(err, -EUCLEAN, "%s: both a backing file and a raw data file", name);
	return 0;
}

int qcow2_names_read(
	struct qcow2 *qcow2, const struct qcow2_header *header, const char *name, struct err *err)
{
	int rc = read_extensions(qcow2, header, name, err);

	if (rc == 0)
		rc = read_backing(qcow2, header, name, err);
	if (rc == 0)
		rc = check_data_name(qcow2, header, name, err);
	if (rc < 0)
		return rc;
	qcow2->info.backing_name = qcow2->backing_name;
	qcow2->info.backing_format = qcow2->backing_format;
	qcow2->info.data_name = qcow2->data_name;
	return 0;
}
