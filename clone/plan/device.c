/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has that device? See device.h. */
#include "clone/plan/device.h"

#include <errno.h>
#include <sys/stat.h>

#include "clone/xml/domain.h"
#include "fs/util/cleanup.h"

static bool is_device(const char *path, dev_t *ret_device)
{
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
		return false;
	*ret_device = st.st_rdev;
	return true;
}

bool device_is(const char *path)
{
	dev_t device;

	return is_device(path, &device);
}

/* A volume that cannot be resolved is none that runs. */
static bool disk_is(struct virt *virt, const struct xml_disk *disk, dev_t device)
{
	AUTO_FREE char *volume = NULL;
	const char *path = disk->source;
	dev_t other;

	if (disk->readonly)
		return false;
	if (disk->volume && virt_volume_path(virt, disk->pool, disk->volume, &volume, NULL) == 0)
		path = volume;
	return path && is_device(path, &other) && other == device;
}

static bool domain_has(struct virt *virt, const struct virt_domain *domain, dev_t device)
{
	struct xml_domain *survey;
	bool found = false;

	if (!domain->active || xml_survey(domain->xml, &survey, NULL) < 0)
		return false;
	for (uint32_t i = 0; i < survey->n_disks && !found; i++)
		found = disk_is(virt, &survey->disks[i], device);
	xml_domain_free(survey);
	return found;
}

int device_check_idle(struct virt *virt, const char *path, struct err *err)
{
	struct virt_domain *domains;
	uint32_t count;
	dev_t device;
	int rc;

	if (!is_device(path, &device))
		return 0;
	rc = virt_list(virt, &domains, &count, err);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		if (domain_has(virt, &domains[i], device))
			rc = err_set(err, -EBUSY, "%s: the running domain %s writes to it", path,
				domains[i].name);
	if (rc < 0)
		err_hint(err, "shut that domain down first");
	virt_list_free(domains, count);
	return rc;
}
