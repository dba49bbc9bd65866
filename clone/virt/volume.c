/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Storage pools and their volumes: see virt.h. */
#include "clone/virt/virt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libvirt/libvirt.h>

#include "clone/virt/connection.h"
#include "clone/virt/fault.h"

/* ---- pools ---- */

static int no_pool(struct virt *virt, const char *name, struct err *err)
{
	int rc = virt_fault(err, "cannot look up the storage pool %s", name);

	if (rc != -ENOENT)
		return rc;
	err_set(err, -ESTALE, "storage pool %s: no such pool at %s", name, virt->uri);
	err_hint(err, "see them all: virsh -c %s pool-list --all", virt->uri);
	return -ESTALE;
}

/* What an inactive pool had is not mounted, or not logged in. */
static int check_active(struct virt *virt, virStoragePoolPtr pool, const char *name,
	struct err *err)
{
	int active = virStoragePoolIsActive(pool);

	if (active < 0)
		return virt_fault(err, "cannot ask the storage pool %s", name);
	if (active > 0)
		return 0;
	err_set(err, -ESTALE, "storage pool %s is not active", name);
	err_hint(err, "start it: virsh -c %s pool-start %s", virt->uri, name);
	return -ESTALE;
}

/* ---- volumes ---- */

static int no_volume(struct virt *virt, const char *pool, const char *name, struct err *err)
{
	int rc = virt_fault(err, "cannot look up the volume %s of pool %s", name, pool);

	if (rc != -ENOENT)
		return rc;
	err_set(err, -ESTALE, "volume %s of pool %s: no such volume", name, pool);
	err_hint(err, "if it was made by other means: virsh -c %s pool-refresh %s", virt->uri,
		pool);
	return -ESTALE;
}

static int check_kind(virStorageVolPtr volume, const char *pool, struct err *err)
{
	const char *name = virStorageVolGetName(volume);
	virStorageVolInfo info;

	if (virStorageVolGetInfo(volume, &info) < 0)
		return virt_fault(err, "cannot ask the volume %s of pool %s", name, pool);
	if (info.type == VIR_STORAGE_VOL_FILE || info.type == VIR_STORAGE_VOL_BLOCK)
		return 0;
	if (info.type == VIR_STORAGE_VOL_NETWORK) {
		err_set(err, -EOPNOTSUPP, "volume %s of pool %s is on the network: it cannot be cloned "
			"yet", name, pool);
		err_hint(err, "map it to a block device of this host (such as rbd map) and use "
			"type='block', or copy it into an image file (virsh vol-download)");
		return -EOPNOTSUPP;
	}
	err_set(err, -EOPNOTSUPP, "volume %s of pool %s is neither a file nor a block device", name,
		pool);
	err_hint(err, "use a volume that holds one image");
	return -EOPNOTSUPP;
}

int virt_volume_path(struct virt *virt, const char *pool, const char *volume, char **ret_path,
	struct err *err)
{
	AUTO_POOL virStoragePoolPtr in = virStoragePoolLookupByName(virt->conn, pool);
	AUTO_VOLUME virStorageVolPtr found = NULL;
	char *path;
	int rc;

	if (!in)
		return no_pool(virt, pool, err);
	rc = check_active(virt, in, pool, err);
	if (rc < 0)
		return rc;
	found = virStorageVolLookupByName(in, volume);
	if (!found)
		return no_volume(virt, pool, volume, err);
	rc = check_kind(found, pool, err);
	if (rc < 0)
		return rc;
	path = virStorageVolGetPath(found);
	if (!path)
		return virt_fault(err, "cannot ask the volume %s of pool %s", volume, pool);
	*ret_path = path;
	return 0;
}

int virt_volume_at(struct virt *virt, const char *path, char **ret_xml, struct err *err)
{
	AUTO_VOLUME virStorageVolPtr volume = virStorageVolLookupByPath(virt->conn, path);
	int rc;

	if (volume && (*ret_xml = virStorageVolGetXMLDesc(volume, 0)))
		return 1;
	rc = virt_fault(err, "cannot look up the volume at %s", path);
	/* Removed meanwhile; or this libvirt has no storage driver. */
	return rc == -ENOENT || rc == -EOPNOTSUPP ? 0 : rc;
}
