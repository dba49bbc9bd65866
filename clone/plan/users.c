/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who runs on disks of a mount: see users.h. */
#include "clone/plan/users.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clone/xml/domain.h"

struct list {
	struct disk_user *users;
	uint32_t count;
};

static bool take_part(const char *text, size_t len, char *part, size_t max)
{
	if (!len || len > max)
		return false;
	memcpy(part, text, len);
	part[len] = '\0';
	return true;
}

bool users_split_path(const char *mountpoint, const char *path,
	char clone[static STORE_NAME_MAX + 1], char target[static STORE_TARGET_MAX + 1])
{
	size_t prefix = strlen(mountpoint);
	size_t suffix = strlen(STORE_DISK_SUFFIX);
	const char *name;
	const char *file;
	size_t len;

	if (strncmp(path, mountpoint, prefix) || path[prefix] != '/')
		return false;
	name = path + prefix + 1;
	file = strchr(name, '/');
	if (!file || strchr(file + 1, '/'))
		return false;
	len = strlen(++file);
	return len > suffix && !strcmp(file + len - suffix, STORE_DISK_SUFFIX) &&
		take_part(name, (size_t)(file - 1 - name), clone, STORE_NAME_MAX) &&
		take_part(file, len - suffix, target, STORE_TARGET_MAX);
}

static int add_user(struct list *list, const struct virt_domain *domain, const char *clone,
	const char *target)
{
	struct disk_user *grown = realloc(list->users, (list->count + 1) * sizeof(*grown));
	struct disk_user *user;

	if (!grown)
		return -ENOMEM;
	list->users = grown;
	user = &grown[list->count];
	*user = (struct disk_user){.domain = strdup(domain->name)};
	if (!user->domain)
		return -ENOMEM;
	memcpy(user->uuid, domain->uuid, sizeof(user->uuid));
	strcpy(user->clone, clone);
	strcpy(user->target, target);
	list->count++;
	return 0;
}

static int add_disks(struct list *list, const struct virt_domain *domain,
	const struct xml_domain *survey, const char *mountpoint)
{
	char clone[STORE_NAME_MAX + 1];
	char target[STORE_TARGET_MAX + 1];
	int rc = 0;

	for (uint32_t i = 0; !rc && i < survey->n_disks; i++) {
		const char *path = survey->disks[i].source;

		if (path && users_split_path(mountpoint, path, clone, target))
			rc = add_user(list, domain, clone, target);
	}
	return rc;
}

int users_find(const struct virt_domain *domains, uint32_t n_domains, const char *mountpoint,
	struct disk_user **ret_users, uint32_t *ret_count)
{
	struct list list = {.users = NULL};
	int rc = 0;

	for (uint32_t i = 0; !rc && i < n_domains; i++) {
		struct xml_domain *survey;

		/* A domain whose XML cannot be read is not one that we defined. */
		if (!domains[i].active || xml_survey(domains[i].xml, &survey, NULL))
			continue;
		rc = add_disks(&list, &domains[i], survey, mountpoint);
		xml_domain_free(survey);
	}
	if (rc) {
		users_free(list.users, list.count);
		return rc;
	}
	*ret_users = list.users;
	*ret_count = list.count;
	return 0;
}

void users_free(struct disk_user *users, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(users[i].domain);
	free(users);
}
