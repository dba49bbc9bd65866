/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One connection to libvirt: private to the room. */
#ifndef CLONE_VIRT_CONNECTION_H
#define CLONE_VIRT_CONNECTION_H

#include <stdbool.h>

#include <libvirt/libvirt.h>

#include "fs/util/cleanup.h"

struct virt {
	virConnectPtr conn;
	char *uri; /* canonical */
	bool session;
};

static inline void virt_free_domain(virDomainPtr *domain)
{
	if (*domain)
		virDomainFree(*domain);
}

#define AUTO_DOMAIN AUTO(virt_free_domain)

static inline void virt_free_pool(virStoragePoolPtr *pool)
{
	if (*pool)
		virStoragePoolFree(*pool);
}

#define AUTO_POOL AUTO(virt_free_pool)

static inline void virt_free_volume(virStorageVolPtr *volume)
{
	if (*volume)
		virStorageVolFree(*volume);
}

#define AUTO_VOLUME AUTO(virt_free_volume)

#endif
