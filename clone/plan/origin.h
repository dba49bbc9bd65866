/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The original: a shut-off domain, or one image, as a plan to clone it sees it. */
#ifndef CLONE_PLAN_ORIGIN_H
#define CLONE_PLAN_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "clone/plan/session.h"
#include "clone/virt/virt.h"
#include "clone/xml/domain.h"
#include "fs/ctl/ctl.h"
#include "fs/util/err.h"

/* Target of the disk that is made without a domain: MOUNT/NAME/disk.raw. */
#define ORIGIN_IMAGE_TARGET "disk"

/* One image that gets a delta. */
struct origin_disk {
	char *target;
	char *path;
	char *driver; /* <driver> element as text, or NULL */
	char *identity;
	uint64_t size_bytes;
};

struct origin {
	struct virt_domain domain;  /* name NULL: a lone image */
	struct xml_domain *scanned; /* NULL: a lone image */
	uint32_t n_disks;
	struct origin_disk *disks;
	/* Who shall own the clone's disks. */
	uid_t uid;
	gid_t gid;
	bool dac_label; /* libvirt labels disks, and must be told not to */
	bool newly_held; /* an image that could be written until now */
};

/* Refused: what runs, has saved state, snapshots or jobs, lies on a lazyclone
 * mount, or has parts that are not understood (clone/xml). */
int origin_of_domain(struct session *session, struct virt *virt, const char *name,
	struct origin **ret_origin, struct err *err);
int origin_of_image(struct session *session, const char *path, struct origin **ret_origin,
	struct err *err);
void origin_free(struct origin *origin); /* NULL allowed */

/* Let the daemon hold each base, and learn its identity and size. */
int origin_hold(struct origin *origin, struct ctl *ctl, struct err *err);

/* The same without a daemon, and without holding: for a dry run. */
int origin_look(struct origin *origin, struct err *err);

#endif
