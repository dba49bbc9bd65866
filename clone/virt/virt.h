/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of libvirt: connections, domains, storage; the only room that links it.
 *
 * All functions return 0 (or what is said) or -errno with err set from
 * libvirt's own message: -ENOENT no such domain, -EEXIST name or UUID taken,
 * -ECONNREFUSED libvirtd not running, -EACCES, -EOPNOTSUPP a connection to
 * another host or another driver than qemu. Strings handed out are the
 * caller's to free. libvirt's own error printing is silenced.
 *
 * Threads: one connection per thread.
 */
#ifndef CLONE_VIRT_VIRT_H
#define CLONE_VIRT_VIRT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/util/err.h"

#define VIRT_UUID_TEXT 37

struct virt;

/* uri NULL: libvirt's own rules (LIBVIRT_DEFAULT_URI ...). Refuses what is
 * not a local qemu connection. */
int virt_connect(const char *uri, struct virt **ret_virt, struct err *err);
void virt_close(struct virt *virt); /* NULL allowed */

const char *virt_uri(const struct virt *virt);   /* canonical, "qemu:///system" */
bool virt_is_session(const struct virt *virt);

/* Where this connection's QEMU keeps NVRAM: /var/lib/libvirt/qemu/nvram, or
 * the session's own. Caller frees. */
int virt_nvram_dir(const struct virt *virt, char **ret_dir);

/* Owner QEMU runs as, from capabilities' DAC base label. *ret_labelled false
 * (session mode): no such model; uid and gid are then the caller's own. */
int virt_dac_owner(struct virt *virt, bool *ret_labelled, uid_t *ret_uid, gid_t *ret_gid,
	struct err *err);

struct virt_domain {
	char *name;
	char uuid[VIRT_UUID_TEXT];
	int id;          /* -1 when shut off */
	bool active;     /* running, paused, ... */
	bool persistent;
	bool managed_save;
	char *xml;       /* inactive, with security data */
};
void virt_domain_clear(struct virt_domain *domain);

/* By name, UUID or id of a running domain, in virsh's order. */
int virt_lookup(struct virt *virt, const char *domain, struct virt_domain *ret_domain,
	struct err *err);
int virt_lookup_uuid(struct virt *virt, const char *uuid, struct virt_domain *ret_domain,
	struct err *err);

/* 1 if a domain of that name exists, 0 if not. */
int virt_name_taken(struct virt *virt, const char *name, struct err *err);

/* All domains, with XML. Domains that vanish meanwhile are left out. */
int virt_list(struct virt *virt, struct virt_domain **ret_domains, uint32_t *ret_count,
	struct err *err);
void virt_list_free(struct virt_domain *domains, uint32_t count);

/* Define and give back the XML as libvirt keeps it (ret_defined_xml may be
 * NULL). libvirt refuses to replace a domain of another UUID; it has no code
 * of its own for that, so -EIO, and the caller looks who has the name. */
int virt_define(struct virt *virt, const char *xml, char **ret_defined_xml, struct err *err);

/* Undefine by UUID with what this libvirt's flags can take along (managed
 * save, snapshot and checkpoint metadata, NVRAM, TPM). A missing domain is
 * success. A running one is -EBUSY. */
int virt_undefine(struct virt *virt, const char *uuid, bool keep_nvram, struct err *err);

int virt_start(struct virt *virt, const char *uuid, struct err *err);
int virt_destroy(struct virt *virt, const char *uuid, struct err *err); /* power off */

/* Freeze the file systems of a running guest, through its agent; -EOPNOTSUPP:
 * no agent answers. Thawing one that does not run any more, or was never
 * frozen, is success. */
int virt_quiesce(struct virt *virt, const char *uuid, struct err *err);
int virt_thaw(struct virt *virt, const char *uuid, struct err *err);

/* 1 if the domain has a block job, snapshot or checkpoint (*ret_what says
 * which; static text), 0 if not. */
int virt_busy(struct virt *virt, const char *uuid, const char **ret_what, struct err *err);

/* The file or device of this host that a volume is. -ESTALE: the pool or the
 * volume is not there, or the pool is not active; -EOPNOTSUPP: it is not here
 * but on the network (rbd, gluster, sheepdog, iscsi-direct), or a directory. */
int virt_volume_path(struct virt *virt, const char *pool, const char *volume, char **ret_path,
	struct err *err);

/* Which volume of an active pool has this path? 1 and libvirt's description of
 * it, 0 none. */
int virt_volume_at(struct virt *virt, const char *path, char **ret_xml, struct err *err);

#endif
