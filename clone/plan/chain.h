/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which files a disk's image consists of.
 *
 * A qcow2 image names the image below it and its data file, and whoever wrote
 * it may have named any file of the host. So a name is followed only where
 * the same file is named by
 *
 *	the user      --backing, --data-file
 *	the domain    <backingStore>, <dataStore>
 *	libvirt       as the backing store of the storage volume that the image is
 *
 * and each image below is looked at in the same way. Where the domain says
 * something else than the image, nothing is right: refused. The format of an
 * image below comes from the user, the domain or the image above it, in this
 * order, and never from its own bytes. (That of libvirt's volume may come from
 * there, so it is not asked.)
 */
#ifndef CLONE_PLAN_CHAIN_H
#define CLONE_PLAN_CHAIN_H

#include <jansson.h>

#include "clone/plan/allowed.h"
#include "clone/virt/virt.h"
#include "clone/xml/domain.h"
#include "fs/base/base.h"
#include "fs/util/err.h"

struct chain_top {
	const char *path;
	const char *format; /* "raw", "qcow2" */
	const char *snapshot; /* of it, by id or name; NULL: as it is now */
	const struct xml_disk *disk; /* what the domain says; NULL: a lone image */
	struct virt *virt;           /* NULL: libvirt is not asked for volumes */
};

/* *ret_source is the caller's: base_source_free(). -ESTALE: a file is not
 * there; -EOPNOTSUPP: one that nobody allowed, or that lies on a lazyclone
 * mount; the hint names the option that allows it. */
int chain_find(const struct chain_top *top, struct allowed *allowed,
	struct base_source **ret_source, struct err *err);

/* The files of a base as they were recorded, the top first: [{"path", "format",
 * "data": PATH | null}], the first with "snapshot" where that is what is read;
 * null for an identity that cannot be read. */
json_t *chain_images(const char *path, const char *identity);

#endif
