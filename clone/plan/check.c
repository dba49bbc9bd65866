/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon verifies slice by slice, we count: see check.h. */
#include "clone/plan/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clone/plan/interrupt.h"
#include "clone/plan/ours.h"
#include "fs/ctl/ctl.h"
#include "fs/store/delta.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"

#define STAT_BLOCK 512

struct checking {
	const struct check_options *options;
	struct ctl *ctl;
	struct check_result *result;
	uint64_t total_bytes, done_bytes; /* done: of the disks before this one */
};

void check_result_clear(struct check_result *result)
{
	free(result->disks);
	memset(result, 0, sizeof(*result));
}

/* ---- disks ---- */

static void report(const struct checking *c, uint64_t bytes)
{
	if (c->options->progress)
		c->options->progress(
			c->options->progress_ctx, c->done_bytes + bytes, c->total_bytes);
}

static int check_disk(struct checking *c, const char *clone, const struct store_disk *disk,
	struct check_disk *found, struct err *err)
{
	struct ctl_checked slice = {0};
	int rc = 0;

	strcpy(found->target, disk->target);
	do {
		uint64_t from = slice.next_block;

		rc = interrupt_check(err);
		if (rc == 0)
			rc = ctl_check(c->ctl, clone, disk->target, from, &slice, err);
		if (rc == 0 && slice.next_block <= from && slice.next_block < slice.end_block)
			rc = err_set(err, -EPROTO, "the check of disk %s does not get on",
				disk->target);
		if (rc < 0)
			return rc;
		found->data_blocks += slice.data_blocks;
		found->bad_blocks += slice.bad_blocks;
		report(c, slice.next_block << DELTA_BLOCK_SHIFT);
	} while (slice.next_block < slice.end_block);
	c->done_bytes += disk->size_bytes;
	c->result->bad_blocks += found->bad_blocks;
	return 0;
}

/* ---- leaks ---- */

static bool names_log(const struct manifest *manifest, const struct id *id)
{
	for (uint32_t i = 0; i < manifest->n_disks; i++)
		if (id_equal(&manifest->disks[i].log, id))
			return true;
	return false;
}

/* ID.super, ID.log or ID.ckpt. */
static bool is_log_file(const char *name, struct id *ret_id)
{
	static const char *const suffixes[] = {".super", ".log", ".ckpt"};
	char text[ID_TEXT];

	if (strlen(name) < ID_TEXT)
		return false;
	memcpy(text, name, ID_TEXT - 1);
	text[ID_TEXT - 1] = '\0';
	if (id_parse(text, ret_id) < 0)
		return false;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (strcmp(name + ID_TEXT - 1, suffixes[i]) == 0)
			return true;
	return false;
}

static void count_leak(const struct ours *ours, const char *name, struct check_result *result)
{
	struct id id;
	struct stat st;

	if (!is_log_file(name, &id) || names_log(ours->manifest, &id) ||
		fstatat(ours->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	result->leaks++;
	/* A layer's other name takes no room of its own. */
	if (st.st_nlink == 1)
		result->leaked_bytes += (uint64_t)st.st_blocks * STAT_BLOCK;
}

static int count_leaks(struct ours *ours, struct check_result *result, struct err *err)
{
	int fd = openat(ours->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *item;
	int rc;

	if (!dir) {
		rc = err_sys(err, -errno, "cannot look into the clone's directory");
		close_fd(&fd);
		return rc;
	}
	while ((item = readdir(dir)))
		count_leak(ours, item->d_name, result);
	closedir(dir);
	return 0;
}

/* ---- all of it ---- */

static int check_ours(struct session *session, struct ours *ours, struct checking *c,
	struct err *err)
{
	const struct manifest *manifest = ours->manifest;
	int rc = session_need_daemon(session, true, &c->ctl, err);

	if (rc == 0)
		rc = ours_show(ours, c->ctl, err);
	c->result->disks = calloc((size_t)manifest->n_disks + 1, sizeof(*c->result->disks));
	if (rc == 0 && !c->result->disks)
		rc = err_sys(err, -ENOMEM, "clone %s", manifest->name);
	for (uint32_t i = 0; i < manifest->n_disks; i++)
		c->total_bytes += manifest->disks[i].size_bytes;
	for (uint32_t i = 0; rc == 0 && i < manifest->n_disks; i++)
		rc = check_disk(c, manifest->name, &manifest->disks[i],
			&c->result->disks[c->result->n_disks++], err);
	return rc == 0 ? count_leaks(ours, c->result, err) : rc;
}

int check_clone(struct session *session, const char *clone, const struct check_options *options,
	struct check_result *ret_result, struct err *err)
{
	struct checking c = {.options = options, .result = ret_result};
	uint64_t begun_ns = clock_now_ns();
	struct ours ours;
	int rc;

	*ret_result = (struct check_result){0};
	/* Held: a freeze or reset in the middle would be found as leaks. */
	rc = ours_hold(session, clone, &ours, err);
	if (rc < 0)
		return rc;
	interrupt_catch();
	rc = check_ours(session, &ours, &c, err);
	ret_result->total_ns = clock_now_ns() - begun_ns;
	interrupt_restore();
	ours_clear(&ours);
	return rc;
}
