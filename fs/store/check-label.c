/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking what makes a directory a store: its label and its parts. See check.h. */
#include "fs/store/check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/store/directory.h"
#include "fs/store/sealed.h"
#include "fs/util/cleanup.h"

static const char *const parts[] = {DIRECTORY_CLONES, DIRECTORY_LAYERS, DIRECTORY_STAGING,
	DIRECTORY_TRASH, DIRECTORY_JOURNAL};

#define N_PARTS (sizeof(parts) / sizeof(parts[0]))

struct labelling {
	const struct io_gate *io;
	int dirfd;
	const char *part;
	struct id id; /* of the damaged label, or a new one */
};

static bool has_part(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int fix_part(void *ctx, struct err *err)
{
	struct labelling *l = ctx;
	int rc = l->io->mkdirat(l->io, l->dirfd, l->part, 0700);

	return rc < 0 ? rc : l->io->fsync(l->io, l->dirfd);
}

static int fix_label(void *ctx, struct err *err)
{
	struct labelling *l = ctx;
	AUTO_FREE char *text = NULL;
	size_t len;
	int rc = label_format(&l->id, &text, &len);

	return rc < 0 ? rc : io_publish(l->io, l->dirfd, LABEL_FILE, text, len, 0600);
}

/* What is left of the store's id. */
static struct id id_of(const char *text, size_t len)
{
	json_t *object = json_loadb(text, len, 0, NULL);
	const char *said = json_string_value(json_object_get(object, "id"));
	struct id id;

	if (!said || id_parse(said, &id) < 0)
		id = id_new();
	json_decref(object);
	return id;
}

/* Whole, but not what this version knows. */
static bool is_sealed(const char *text, size_t len)
{
	json_t *object = NULL;
	bool sealed = sealed_parse(text, len, LABEL_FORMAT, &object, NULL) == 0;

	json_decref(object);
	return sealed;
}

static int look_at_label(struct check *check, struct labelling *l, struct err *err)
{
	AUTO_FREE char *text = NULL;
	struct label label;
	struct err why = {0};
	size_t len = 0;
	int rc = io_slurp(l->io, l->dirfd, LABEL_FILE, LABEL_BYTES_MAX, &text, &len);

	if (rc == -ENOENT)
		err_set(&why, rc, "it is missing");
	else if (rc == -EFBIG)
		err_set(&why, rc, "it is too large");
	else if (rc < 0)
		return err_sys(err, rc, "cannot read %s", LABEL_FILE);
	if (rc == 0 && label_parse(text, len, &label, &why) == 0)
		return 0;
	if (rc == 0 && (sealed_is_newer(text, len) || is_sealed(text, len)))
		return err_set(err, -EOPNOTSUPP, "%s: %s", LABEL_FILE, why.message);
	l->id = id_of(text ? text : "", len);
	return check_report(check, PROBLEM_LABEL, "", why.message, fix_label, l) ? 0 : -EUCLEAN;
}

/* Any directory could be named by mistake: only one that has what only a store
 * has is repaired. */
static bool looks_like_a_store(int dirfd)
{
	return has_part(dirfd, DIRECTORY_CLONES) &&
		(has_part(dirfd, DIRECTORY_STAGING) || has_part(dirfd, DIRECTORY_LAYERS));
}

static int look_at_parts(struct check *check, struct labelling *l)
{
	for (size_t i = 0; i < N_PARTS; i++) {
		l->part = parts[i];
		if (!has_part(l->dirfd, parts[i]) &&
			!check_report(check, PROBLEM_PART, "", parts[i], fix_part, l))
			return -EUCLEAN;
	}
	return 0;
}

int check_label(struct check *check, const struct io_gate *io, const char *path, struct err *err)
{
	struct labelling l = {.io = io};
	struct stat st;
	int rc;

	l.dirfd = io->openat(io, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (l.dirfd < 0)
		return err_sys(err, l.dirfd, "store %s", path);
	if (fstatat(l.dirfd, LABEL_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
		!looks_like_a_store(l.dirfd))
		rc = err_set(err, -EINVAL, "%s is no lazyclone store", path);
	else
		rc = look_at_label(check, &l, err);
	if (rc == 0)
		rc = look_at_parts(check, &l);
	io->close(io, l.dirfd);
	return rc;
}
