/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening and closing a qcow2 image: see qcow2.h. */
#include "fs/base/qcow2.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/base/qcow2-image.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

static void set_shape(struct qcow2 *q, const struct qcow2_header *header)
{
	bool extended = header->incompatible & QCOW2_EXTENDED_L2;

	q->cluster_bits = header->cluster_bits;
	q->entry_bytes = extended ? sizeof(struct qcow2_disk_extended_entry) : sizeof(be64);
	q->slice_bytes = (uint32_t)min_u64(QCOW2_SLICE, qcow2_cluster_bytes(q));
	q->l1_bits = 2 * q->cluster_bits - (extended ? 4 : 3);
	q->packed_bits = 62 - (q->cluster_bits - 8);
	q->subcluster_bits = q->cluster_bits - 5;
	q->compression = header->compression;
	q->info.version = header->version;
	q->info.cluster_bytes = 1u << header->cluster_bits;
	q->info.extended_l2 = extended;
	q->info.data_raw = header->raw_data;
}

/* Room for the slices' addresses, not for the table. */
static int set_disk(struct qcow2 *q, const struct qcow2_table *l1, uint64_t size_bytes)
{
	uint64_t slices = round_up(l1->entries * sizeof(be64), QCOW2_SLICE) / QCOW2_SLICE;

	q->l1 = *l1;
	q->info.size_bytes = size_bytes;
	q->l1_slices = calloc(slices ? slices : 1, sizeof(*q->l1_slices));
	return q->l1_slices ? 0 : -ENOMEM;
}

static int open_disk(struct qcow2 *q, const struct qcow2_header *header, const char *name,
	const char *snapshot, struct err *err)
{
	struct qcow2_table l1 = header->l1;
	uint64_t size_bytes = header->size_bytes;
	int rc = 0;

	if (snapshot)
		rc = qcow2_snapshot_find(q->file, header, name, snapshot, &l1, &size_bytes, err);
	if (rc < 0)
		return rc;
	rc = set_disk(q, &l1, size_bytes);
	return rc < 0 ? err_sys(err, rc, "%s", name) : 0;
}

static void cleanup_close(struct qcow2 **qcow2)
{
	qcow2_close(*qcow2);
}

int qcow2_open(const struct bytes *file, const char *name, const char *snapshot,
	struct qcow2 **ret_qcow2, struct err *err)
{
	AUTO(cleanup_close) struct qcow2 *q = NULL;
	struct qcow2_header header;
	int rc = qcow2_header_read(file, name, &header, err);

	if (rc < 0)
		return rc;
	q = calloc(1, sizeof(*q));
	if (!q)
		return err_sys(err, -ENOMEM, "%s", name);
	q->owner = cache_owner();
	q->file = file;
	set_shape(q, &header);
	rc = qcow2_names_read(q, &header, name, err);
	if (rc == 0)
		rc = open_disk(q, &header, name, snapshot, err);
	if (rc < 0)
		return rc;
	if (!q->data_name)
		q->data = file;
	*ret_qcow2 = steal_ptr(&q);
	return 0;
}

void qcow2_close(struct qcow2 *qcow2)
{
	if (!qcow2)
		return;
	cache_forget(qcow2->owner);
	qcow2_l1_free(qcow2);
	free(qcow2->backing_name);
	free(qcow2->backing_format);
	free(qcow2->data_name);
	free(qcow2);
}

const struct qcow2_info *qcow2_info(const struct qcow2 *qcow2)
{
	return &qcow2->info;
}

void qcow2_give_data(struct qcow2 *qcow2, const struct bytes *data)
{
	qcow2->data = data;
}
