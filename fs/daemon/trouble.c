/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bases in trouble, as each disk on them sees it: see trouble.h. */
#include "fs/daemon/trouble.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "fs/util/cleanup.h"

const char *trouble_state_name(const struct base_info *info)
{
	switch (info->state) {
	case BASE_SUSPENDED:
		return "suspended";
	case BASE_CHANGED:
		return "changed";
	case BASE_READY:
		break;
	}
	return info->moved ? "moved" : "ready";
}

/* Why it could not be held. */
static const char *unheld_name(int rc)
{
	switch (rc) {
	case -ESTALE:
		return "changed";
	case -EBUSY:
		return "suspended";
	default:
		return "failed";
	}
}

const char *trouble_state_locked(const struct attached_disk *disk)
{
	struct base_info info;

	if (!disk->clone->manifest->disks[disk->index].base_path)
		return NULL;
	if (!disk->base)
		return unheld_name(disk->base_error);
	base_info(disk->base, &info);
	return trouble_state_name(&info);
}

static char *text_of(const struct base_info *info)
{
	const char *file = info->trouble ? info->trouble : info->path;
	char *text;
	int n;

	if (info->state == BASE_CHANGED)
		n = asprintf(&text, "its base changed: %s: reads of it fail", file);
	else if (info->state == BASE_SUSPENDED)
		n = asprintf(&text, "its base is open for writing: %s: reads of it wait", file);
	else if (info->moved)
		n = asprintf(&text, "its base was moved or deleted, and is lost once the daemon "
			"stops: put %s back, or hydrate the clone", file);
	else
		return NULL;
	return n < 0 ? NULL : text;
}

char *trouble_text_locked(const struct attached_disk *disk)
{
	struct base_info info;

	if (!disk->base)
		return NULL;
	base_info(disk->base, &info);
	return text_of(&info);
}

/* ---- the log ---- */

/* The base looked at last: neighbours are often on the same one. */
struct look {
	const struct base *base;
	char *text;
};

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void tell(struct attached_disk *disk, const char *text)
{
	const struct manifest *m = disk->clone->manifest;

	syslog(text ? LOG_ERR : LOG_NOTICE, "clone %s: disk %s: %s", m->name,
		m->disks[disk->index].target, text ? text : "its base is well again");
	free(disk->told);
	disk->told = text ? strdup(text) : NULL;
}

static void look_at(struct attached_disk *disk, struct look *look)
{
	SCOPED_LOCK(&disk->clone->lock);

	if (!disk->base)
		return;
	if (disk->base != look->base) {
		free(look->text);
		look->text = trouble_text_locked(disk);
		look->base = disk->base;
	}
	if (!same_text(look->text, disk->told))
		tell(disk, look->text);
}

void trouble_watch(struct table *table)
{
	struct look look = {.base = NULL};
	SCOPED_LOCK(&table->lock);

	for (uint32_t i = 0; i < table->count; i++) {
		struct attached *clone = table->clones[i];

		for (uint32_t k = 0; !clone->leaving && k < clone->manifest->n_disks; k++)
			look_at(&clone->disks[k], &look);
	}
	free(look.text);
}
