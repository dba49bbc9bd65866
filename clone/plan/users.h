/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who runs on disks of a mount: active domains, by the disks in their XML. */
#ifndef CLONE_PLAN_USERS_H
#define CLONE_PLAN_USERS_H

#include <stdint.h>

#include "clone/virt/virt.h"
#include "fs/store/store.h"

struct disk_user {
	char *domain; /* name of a running domain */
	char uuid[VIRT_UUID_TEXT];
	char clone[STORE_NAME_MAX + 1]; /* the disk it runs on: MOUNT/clone/target.raw */
	char target[STORE_TARGET_MAX + 1];
};

/* Is path a disk below mountpoint? Then its clone and target. Text only. */
bool users_split_path(const char *mountpoint, const char *path,
	char clone[static STORE_NAME_MAX + 1], char target[static STORE_TARGET_MAX + 1]);

/* Among domains as virt_list gave them. 0 or -ENOMEM. */
int users_find(const struct virt_domain *domains, uint32_t n_domains, const char *mountpoint,
	struct disk_user **ret_users, uint32_t *ret_count);
void users_free(struct disk_user *users, uint32_t count);

#endif
