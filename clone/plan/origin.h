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
#include "fs/store/store.h"
#include "fs/util/err.h"

/* Target of the disk that is made without a domain: MOUNT/NAME/disk.raw. */
#define ORIGIN_IMAGE_TARGET "disk"

struct allowed;
struct base_source;
struct stacked;

/* One image that gets a delta. */
struct origin_disk {
	char *target;
	char *path;     /* of the base */
	char *format;   /* of the base: "raw", "qcow2" */
	struct base_source *base; /* its files; NULL: a disk of a clone */
	char *driver;   /* <driver> element as text, or NULL */
	char *identity; /* of the base */
	uint64_t size_bytes;
	uint64_t base_limit_bytes; /* the base owns nothing at or above this */
	/* A disk of a clone (stacked.h): what lies between it and its base. */
	bool stacked;
	bool copied; /* its base is a copy in the store (reflink.h) */
	char *source; /* stacked or copied: the image that its own source had */
	char *shown;  /* the file on the mount */
	uint32_t n_layers;
	struct store_layer *layers; /* newest first */
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
	bool newly_held; /* an image that the source could write until now */
	bool on_device;  /* one of them is a block device */
	struct stacked *stacked; /* the source is a clone; NULL: it is not */
	struct reflink *reflink; /* holds the copies until manifests name them; or NULL */
};

/* How an original is kept from changing under its clones. */
enum origin_base {
	ORIGIN_AUTO,    /* reflinked where that can be, else protected */
	ORIGIN_REFLINK, /* copied into the store: it may change */
	ORIGIN_PROTECT, /* it stays as it is: no QEMU can write it */
};

/* How it is going to be used. */
struct origin_use {
	const char *snapshot; /* of a clone: not as it is now, so that it may run; or NULL */
	bool look; /* nothing is going to be made */
	struct allowed *allowed; /* files that images may use; which are is noted in it */
	/* Of a lone image. */
	const char *format;         /* NULL: raw, if it does not begin like something else */
	const char *image_snapshot; /* qcow2: its internal snapshot, by id or name; or NULL */
};

/* Refused: what runs or whose devices a running one has, has saved state, snapshots or jobs, lies on a lazyclone
 * mount and is no clone of this store, uses files that nobody allowed (chain.h),
 * or has parts that are not understood (clone/xml). */
int origin_of_domain(struct session *session, struct virt *virt, const char *name,
	const struct origin_use *use, struct origin **ret_origin, struct err *err);
int origin_of_image(struct session *session, const char *path, const struct origin_use *use,
	struct origin **ret_origin, struct err *err);
void origin_free(struct origin *origin); /* NULL allowed */

/* Copy what is to be copied; let the daemon hold each base, and learn its
 * identity and size. What a clone wrote is frozen into a layer. */
int origin_hold(struct origin *origin, enum origin_base how, struct store *store,
	struct ctl *ctl, const char *mountpoint, struct err *err);

/* The same without a daemon, and without holding or copying: for a dry run.
 * store: NULL, there is none yet. */
int origin_look(struct origin *origin, enum origin_base how, struct store *store,
	struct err *err);

#endif
