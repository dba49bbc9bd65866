/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holding, copying and comparing originals: see reflink.h. */
#include "clone/plan/reflink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/base/files.h"
#include "fs/store/copies.h"
#include "fs/util/cleanup.h"
#include "fs/util/hash.h"

/* A file that was written just now may be written again without its time of
 * modification moving on, so that its identity stays the same. */
#define YOUNG_SEC 2
#define FILE_NAME 16 /* "63.qcow2" */

/* One base. */
struct member {
	struct base *base; /* held; NULL before and after the run */
	char *original;    /* path of its top image */
	char *identity;    /* of the originals */
	uint64_t size_bytes;
	uint32_t n_files;
	struct base_file *files;
	struct store_copy *copy;
	char *path; /* of the copies' top image */
	char *copied_identity;
};

struct reflink {
	struct store *store;
	uint32_t n_members;
	struct member *members;
};

static void member_clear(struct member *member)
{
	base_release(member->base);
	base_files_free(member->files, member->n_files);
	store_copy_release(member->copy);
	free(member->original);
	free(member->identity);
	free(member->path);
	free(member->copied_identity);
}

int reflink_new(struct store *store, struct reflink **ret_reflink)
{
	*ret_reflink = calloc(1, sizeof(**ret_reflink));
	if (!*ret_reflink)
		return -ENOMEM;
	(*ret_reflink)->store = store;
	return 0;
}

void reflink_free(struct reflink *reflink)
{
	if (!reflink)
		return;
	for (uint32_t i = 0; i < reflink->n_members; i++)
		member_clear(&reflink->members[i]);
	free(reflink->members);
	free(reflink);
}

/* ---- could it be? ---- */

static int no_reflink(struct store *store, const char *path, const char *why, struct err *err)
{
	err_set(err, -EOPNOTSUPP, "%s: cannot be reflinked into the store %s: %s", path,
		store_path(store), why);
	err_hint(err, "the store must lie on the same file system, XFS or btrfs (--store DIR); "
		"or keep the original as it is: --base protect");
	return -EOPNOTSUPP;
}

static int open_image(const char *path, struct stat *ret_st, struct err *err)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && fstat(fd, ret_st) == 0)
		return fd;
	if (fd >= 0)
		close_fd(&fd);
	return err_sys(err, -errno, "%s", path);
}

static int can_file(struct store *store, const char *path, struct err *err)
{
	struct stat st;
	AUTO_CLOSE int fd = open_image(path, &st, err);
	int rc;

	if (fd < 0)
		return fd;
	if (!S_ISREG(st.st_mode))
		return no_reflink(store, path, "it is no file", err);
	rc = store_copy_try(store, fd);
	if (rc == -EXDEV)
		return no_reflink(store, path, "it lies on another file system", err);
	return rc < 0 ? no_reflink(store, path, strerror(-rc), err) : 0;
}

int reflink_can(struct store *store, const struct base_source *source, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < source->n_images; i++) {
		const struct base_image *image = &source->images[i];

		rc = can_file(store, image->path, err);
		if (rc == 0 && image->data_path)
			rc = can_file(store, image->data_path, err);
	}
	return rc;
}

/* ---- holding ---- */

static int fill(struct member *member, const struct base_source *source, struct err *err)
{
	struct base_info info;
	int rc = base_hold(source, &member->base, err);

	if (rc < 0)
		return rc;
	base_info(member->base, &info);
	member->size_bytes = info.size_bytes;
	member->original = strdup(source->images[0].path);
	member->identity = strdup(base_identity(member->base));
	if (!member->original || !member->identity)
		return err_sys(err, -ENOMEM, "base %s", source->images[0].path);
	return base_files(
		member->original, member->identity, &member->files, &member->n_files, err);
}

int reflink_add(struct reflink *reflink, const struct base_source *source, uint32_t *ret_number,
	struct err *err)
{
	struct member *more = reallocarray(
		reflink->members, reflink->n_members + 1, sizeof(*more));
	struct member *member;

	if (!more)
		return err_sys(err, -ENOMEM, "base %s", source->images[0].path);
	reflink->members = more;
	member = &more[reflink->n_members];
	*member = (struct member){0};
	*ret_number = reflink->n_members++;
	return fill(member, source, err);
}

/* ---- copying ---- */

static int busy(const char *path, struct err *err)
{
	err_set(err, -EBUSY, "%s: somebody began to write it while it was being cloned", path);
	err_hint(err, "shut down the machine that uses it, then clone again");
	return -EBUSY;
}

/* Were all of it, up to now, what its identity says? */
static int check_member(void *ctx, struct err *err)
{
	struct member *member = ctx;
	struct base_info info;

	base_info(member->base, &info);
	if (info.state != BASE_READY || info.moved)
		return busy(info.trouble ? info.trouble : member->original, err);
	for (uint32_t i = 0; i < member->n_files; i++) {
		int rc = base_file_check(&member->files[i], err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static bool is_young(const struct stat *st)
{
	return st->st_mtime > time(NULL) - YOUNG_SEC;
}

/* Follows from what the files are; of a young one it is a new one. */
static struct id copy_id(const struct member *member, bool young)
{
	struct id id = id_new();
	uint64_t half[2] = {0, 1};

	if (young)
		return id;
	for (uint32_t i = 0; i < member->n_files; i++) {
		const struct base_file *file = &member->files[i];

		for (int k = 0; k < 2; k++) {
			half[k] = hash64(file->id, strlen(file->id), half[k]);
			half[k] = hash64(file->format, strlen(file->format), half[k] + file->data);
		}
	}
	_Static_assert(sizeof(half) == sizeof(id.byte), "two halves are an id");
	memcpy(id.byte, half, sizeof(id.byte));
	return id;
}

struct opened {
	uint32_t n;
	struct store_copy_file *files;
	char (*names)[FILE_NAME];
	bool young;
};

static void opened_clear(struct opened *opened)
{
	for (uint32_t i = 0; i < opened->n; i++)
		close_fd(&opened->files[i].fd);
	free(opened->files);
	free(opened->names);
}

static int open_files(const struct member *member, struct opened *opened, struct err *err)
{
	opened->files = calloc(member->n_files, sizeof(*opened->files));
	opened->names = calloc(member->n_files, sizeof(*opened->names));
	if (!opened->files || !opened->names)
		return err_sys(err, -ENOMEM, "base %s", member->original);
	for (uint32_t i = 0; i < member->n_files; i++) {
		const struct base_file *file = &member->files[i];
		struct stat st;
		int fd = open_image(file->path, &st, err);

		if (fd < 0)
			return fd;
		snprintf(opened->names[i], FILE_NAME, "%u.%s", i, file->format);
		opened->files[i] = (struct store_copy_file){
			.fd = fd, .path = file->path, .name = opened->names[i]};
		opened->young |= is_young(&st);
		opened->n++;
	}
	return 0;
}

/* The base that the copies are: the originals', file by file put elsewhere. */
static int move_files(struct member *member, const struct opened *opened, struct err *err)
{
	int rc = 0;

	member->path = strdup(member->original);
	member->copied_identity = strdup(member->identity);
	if (!member->path || !member->copied_identity)
		return err_sys(err, -ENOMEM, "base %s", member->original);
	for (uint32_t i = 0; rc == 0 && i < member->n_files; i++) {
		AUTO_FREE char *to = NULL;
		char *path, *identity;

		if (asprintf(&to, "%s/%s", store_copy_path(member->copy), opened->names[i]) < 0)
			return err_sys(err, -ENOMEM, "base %s", member->original);
		rc = base_files_move(member->path, member->copied_identity,
			member->files[i].path, to, &path, &identity, err);
		if (rc < 0)
			break;
		free(member->path);
		free(member->copied_identity);
		member->path = path;
		member->copied_identity = identity;
	}
	return rc;
}

static int copy_member(struct reflink *reflink, struct member *member, struct err *err)
{
	struct opened opened = {0};
	int rc = open_files(member, &opened, err);
	const struct store_copy_order order = {
		.id = copy_id(member, opened.young),
		.n_files = opened.n,
		.files = opened.files,
		.check = check_member,
		.ctx = member,
	};

	if (rc == 0)
		rc = store_copy_take(reflink->store, &order, &member->copy, NULL, err);
	if (rc == 0)
		rc = move_files(member, &opened, err);
	opened_clear(&opened);
	return rc;
}

int reflink_run(struct reflink *reflink, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < reflink->n_members; i++)
		rc = copy_member(reflink, &reflink->members[i], err);
	for (uint32_t i = 0; rc == 0 && i < reflink->n_members; i++)
		rc = check_member(&reflink->members[i], err);
	for (uint32_t i = 0; i < reflink->n_members; i++)
		base_release(steal_ptr(&reflink->members[i].base));
	return rc;
}

struct reflink_copy reflink_copy(const struct reflink *reflink, uint32_t number)
{
	const struct member *member = &reflink->members[number];

	return (struct reflink_copy){.path = member->path, .identity = member->copied_identity,
		.size_bytes = member->size_bytes};
}
