/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keeping, finding and dropping the NVRAM copies of instants: see instant.h. */
#include "clone/plan/instant.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clone/plan/nvram.h"
#include "fs/util/cleanup.h"
#include "fs/util/hash.h"

/* ---- what the manifest knows ---- */

static bool has_name(const void *ctx, const char *name)
{
	return manifest_snapshot(ctx, name);
}

static bool has_layer(const void *ctx, const struct id *layer)
{
	const struct manifest *m = ctx;

	for (uint32_t i = 0; i < m->n_disks; i++)
		for (uint32_t j = 0; j < m->disks[i].n_layers; j++)
			if (id_equal(&m->disks[i].layers[j].id, layer))
				return true;
	return false;
}

static bool prune(struct kept *kept, const struct manifest *manifest)
{
	const struct kept_view view = {has_name, has_layer, manifest};

	return kept_prune(kept, &view);
}

uint64_t instant_mark(const struct manifest *manifest)
{
	uint64_t mark = manifest->n_disks;

	for (uint32_t i = 0; i < manifest->n_disks; i++) {
		const struct store_disk *disk = &manifest->disks[i];

		mark = hash64(&disk->log, sizeof(disk->log), mark);
		for (uint32_t j = 0; j < disk->n_layers; j++)
			mark = hash64(&disk->layers[j].id, sizeof(disk->layers[j].id), mark);
	}
	return mark;
}

/* ---- sweeping ---- */

/* Copies that kept.json does not name: killed before it did, or dropped from it. */
static int sweep_files(int dirfd, const struct kept *kept, struct err *err)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *item;
	int rc = 0;

	if (!dir) {
		rc = err_sys(err, -errno, "cannot look into the clone's directory");
		close_fd(&fd);
		return rc;
	}
	while (rc == 0 && (item = readdir(dir)))
		if (kept_file_is_copy(item->d_name) && !kept_names_file(kept, item->d_name) &&
			unlinkat(dirfd, item->d_name, 0) < 0 && errno != ENOENT)
			rc = err_sys(err, -errno, "cannot remove the old NVRAM copy %s",
				item->d_name);
	closedir(dir);
	return rc;
}

int instant_sweep(const struct ours *ours, struct err *err)
{
	struct kept *kept;
	int rc = kept_read(ours->dirfd, &kept, err);

	if (rc < 0)
		return rc;
	if (prune(kept, ours->manifest))
		rc = kept_write(ours->dirfd, kept, err);
	if (rc == 0)
		rc = sweep_files(ours->dirfd, kept, err);
	kept_free(kept);
	return rc;
}

/* ---- keeping ---- */

static int add_entry(struct kept *kept, const struct manifest *manifest, const char *name,
	const char *file)
{
	AUTO_FREE struct id *logs = calloc((size_t)manifest->n_disks + 1, sizeof(*logs));
	struct kept_entry entry = {
		.name = (char *)name, .n_logs = manifest->n_disks, .logs = logs, .file = (char *)file};

	if (!logs)
		return -ENOMEM;
	for (uint32_t i = 0; i < manifest->n_disks; i++)
		logs[i] = manifest->disks[i].log;
	return kept_add(kept, &entry);
}

static int keep_with(const struct ours *ours, struct kept *kept, const char *name,
	struct err *err)
{
	char file[KEPT_FILE_TEXT];
	int rc;

	kept_file_new(file);
	rc = nvram_keep(AT_FDCWD, ours->record->nvram, ours->dirfd, file, err);
	if (rc < 0)
		return rc;
	rc = add_entry(kept, ours->manifest, name, rc > 0 ? file : NULL);
	return rc < 0 ? err_sys(err, rc, "cannot keep a copy of the NVRAM")
		      : kept_write(ours->dirfd, kept, err);
}

int instant_keep(const struct ours *ours, const char *name, struct err *err)
{
	struct kept *kept;
	int rc;

	if (!ours_has_nvram(ours))
		return 0;
	rc = kept_read(ours->dirfd, &kept, err);
	if (rc < 0)
		return rc;
	prune(kept, ours->manifest);
	rc = keep_with(ours, kept, name, err);
	if (rc == 0)
		rc = sweep_files(ours->dirfd, kept, err);
	kept_free(kept);
	return rc;
}

/* ---- finding ---- */

/* The instant before the first freeze: that of the cloning, of a clone whose
 * source was no clone. */
static const struct kept_entry *base_entry(const struct ours *ours, const struct kept *kept)
{
	static const struct kept_entry at_cloning = {.file = (char *)RECORD_NVRAM};
	static const struct kept_entry none = {.file = NULL};
	const struct kept_entry *entry = kept_of_base(kept);
	struct stat st;

	if (entry)
		return entry;
	return fstatat(ours->dirfd, RECORD_NVRAM, &st, AT_SYMLINK_NOFOLLOW) == 0 ? &at_cloning
										    : &none;
}

/* Nothing lies above what the snapshot has of the disks. */
static bool is_at_top(const struct manifest *m, const struct store_snapshot *snapshot)
{
	for (uint32_t i = 0; i < m->n_disks; i++)
		if (manifest_snapshot_top(m, snapshot, &m->disks[i]) > 0)
			return false;
	return true;
}

/* A snapshot of disks that nothing was written to froze no log: several stand
 * on the same layers, and only their names tell their copies apart. */
static const struct kept_entry *last_snapshot_entry(const struct manifest *m,
	const struct kept *kept)
{
	const struct kept_entry *entry = NULL;

	for (uint32_t i = m->n_snapshots; !entry && i > 0; i--)
		if (is_at_top(m, &m->snapshots[i - 1]))
			entry = kept_of_name(kept, m->snapshots[i - 1].name);
	return entry;
}

static const struct kept_entry *newest_entry(const struct ours *ours, const struct kept *kept)
{
	const struct manifest *m = ours->manifest;
	AUTO_FREE struct id *tops = calloc((size_t)m->n_disks + 1, sizeof(*tops));
	const struct kept_entry *last = last_snapshot_entry(m, kept);
	uint32_t n = 0;

	if (last)
		return last;
	for (uint32_t i = 0; tops && i < m->n_disks; i++)
		if (m->disks[i].n_layers > 0)
			tops[n++] = m->disks[i].layers[0].id;
	if (!tops)
		return NULL;
	return n == 0 ? base_entry(ours, kept) : kept_of_tops(kept, tops, n);
}

static const struct kept_entry *entry_of(const struct ours *ours, const struct kept *kept,
	const char *to)
{
	if (!to)
		return newest_entry(ours, kept);
	return to[0] ? kept_of_name(kept, to) : base_entry(ours, kept);
}

int instant_find(const struct ours *ours, const char *to, enum instant_nvram *ret_what,
	char file[static KEPT_TEXT_MAX + 1], struct err *err)
{
	const struct kept_entry *entry;
	struct kept *kept;
	int rc;

	*ret_what = INSTANT_NVRAM_LEAVE;
	file[0] = '\0';
	if (!ours_has_nvram(ours))
		return 0;
	rc = kept_read(ours->dirfd, &kept, err);
	if (rc < 0)
		return rc;
	entry = entry_of(ours, kept, to);
	if (!entry) {
		rc = err_set(err, -EUCLEAN, "clone %s: no NVRAM copy is kept for that instant",
			ours->manifest->name);
		err_hint(err, "go back to a snapshot (--to NAME), or to the original (--to-base)");
	} else if (entry->file) {
		*ret_what = INSTANT_NVRAM_PUT;
		strcpy(file, entry->file);
	} else {
		*ret_what = INSTANT_NVRAM_DROP;
	}
	kept_free(kept);
	return rc;
}
