/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The manifest in memory: making, checking and freeing it. Its text: manifest-json.c. */
#include "fs/store/manifest.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/store/delta.h"
#include "fs/util/text.h"

bool store_name_valid(const char *name)
{
	size_t len = strnlen(name, STORE_NAME_MAX + 1);

	return len >= 1 && len <= STORE_NAME_MAX && name[0] != '.' && !strchr(name, '/') &&
	       text_is_plain(name);
}

bool store_target_valid(const char *target)
{
	size_t len = strnlen(target, STORE_TARGET_MAX + 1);

	if (len < 1 || len > STORE_TARGET_MAX || !isalnum((unsigned char)target[0]))
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!isalnum((unsigned char)target[i]) && target[i] != '-' && target[i] != '_')
			return false;
	}
	return true;
}

int manifest_new(const char *name, struct manifest **ret_manifest)
{
	struct manifest *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->name = strdup(name);
	if (!m->name) {
		free(m);
		return -ENOMEM;
	}
	m->id = id_new();
	do
		m->node = random_u64() & STORE_NODE_MAX;
	while (m->node == 0);
	m->created_sec = time(NULL);
	*ret_manifest = m;
	return 0;
}

void manifest_free(struct manifest *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->n_disks; i++) {
		free(m->disks[i].base_path);
		free(m->disks[i].base_format);
		free(m->disks[i].base_identity);
	}
	free(m->disks);
	free(m->name);
	free(m);
}

struct store_disk *manifest_add_disk(struct manifest *m, const char *target)
{
	uint32_t number = 0;
	struct store_disk *disks;
	struct store_disk *disk;

	if (m->n_disks >= STORE_DISKS_MAX || !store_target_valid(target))
		return NULL;
	disks = reallocarray(m->disks, m->n_disks + 1, sizeof(*disks));
	if (!disks)
		return NULL;
	m->disks = disks;
	for (uint32_t i = 0; i < m->n_disks; i++)
		number = disks[i].number > number ? disks[i].number : number;
	disk = &disks[m->n_disks++];
	memset(disk, 0, sizeof(*disk));
	memcpy(disk->target, target, strlen(target));
	disk->number = number + 1;
	disk->log = id_new();
	return disk;
}

static const char *disk_base_problem(const struct store_disk *disk)
{
	if (!disk->base_path || disk->base_path[0] != '/')
		return "base path is not absolute";
	if (strnlen(disk->base_path, STORE_PATH_MAX) >= STORE_PATH_MAX)
		return "base path is too long";
	if (!text_is_utf8(disk->base_path))
		return "base path is not UTF-8";
	if (!disk->base_format || strcmp(disk->base_format, "raw") != 0)
		return "base format is not known";
	if (!disk->base_identity || !disk->base_identity[0])
		return "base identity is missing";
	if (strnlen(disk->base_identity, STORE_IDENTITY_MAX + 1) > STORE_IDENTITY_MAX)
		return "base identity is too long";
	if (!text_is_plain(disk->base_identity))
		return "base identity is not one line of text";
	return NULL;
}

static const char *disk_problem(const struct store_disk *disk)
{
	if (!store_target_valid(disk->target))
		return "target is not valid";
	if (disk->number < 1 || disk->number > STORE_NUMBER_MAX)
		return "number is out of range";
	if (disk->size_bytes < 512 || disk->size_bytes > DELTA_SIZE_MAX ||
		disk->size_bytes % 512 != 0)
		return "size is not a multiple of 512 up to 64 TiB";
	if (disk->base_limit_bytes > disk->size_bytes)
		return "base limit is beyond the size";
	if (disk->mode & ~(mode_t)0777)
		return "mode has more than permission bits";
	return disk_base_problem(disk);
}

/* Against 255 others at most: no need for more than a loop. */
static const char *duplicate_problem(const struct manifest *m, uint32_t n)
{
	const struct store_disk *disk = &m->disks[n];

	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(m->disks[i].target, disk->target) == 0)
			return "target is there twice";
		if (m->disks[i].number == disk->number)
			return "number is there twice";
		if (id_equal(&m->disks[i].log, &disk->log))
			return "log is there twice";
	}
	return NULL;
}

int manifest_check(const struct manifest *m, int code, struct err *err)
{
	if (!m->name || !store_name_valid(m->name))
		return err_set(err, code, "manifest: name is not valid");
	if (m->node < 1 || m->node > STORE_NODE_MAX)
		return err_set(err, code, "manifest of %s: node is out of range", m->name);
	if (m->created_sec < 0)
		return err_set(err, code, "manifest of %s: created is negative", m->name);
	if (m->n_disks > STORE_DISKS_MAX)
		return err_set(err, code, "manifest of %s: more than %d disks", m->name,
			STORE_DISKS_MAX);
	for (uint32_t i = 0; i < m->n_disks; i++) {
		const char *problem = disk_problem(&m->disks[i]);

		if (!problem)
			problem = duplicate_problem(m, i);
		if (problem)
			return err_set(err, code, "manifest of %s: disk %u: %s", m->name, i + 1,
				problem);
	}
	return 0;
}
