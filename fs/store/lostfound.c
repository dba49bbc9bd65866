/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* STORE/lost+found: see lostfound.h. What may be lost: nothing, as names are only added or moved. */
#include "fs/store/lostfound.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/util/io.h"

#define NAME_TEXT (ID_TEXT + 8)
#define PLACES_MAX 100000u /* of one name */

static int open_dir(const struct io_gate *io, int dirfd, const char *name)
{
	return io->openat(io, dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* Read-only look, so not by the gate. */
static bool is_free(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

static int find_free(struct lostfound *place, const char *name)
{
	for (unsigned int n = 1; n <= PLACES_MAX; n++) {
		snprintf(place->name, sizeof(place->name), "%.*s.%u", STORE_NAME_MAX, name, n);
		if (is_free(place->fd, place->name))
			return 0;
	}
	return -EEXIST;
}

int lostfound_open(const struct store *store, const char *name, struct lostfound *ret_place,
	struct err *err)
{
	const struct io_gate *io = store->io;
	int rc = io->mkdirat(io, store->dirfd, LOSTFOUND_DIR, 0700);

	*ret_place = (struct lostfound){.store = store, .fd = -1};
	if (rc == 0)
		rc = io->fsync(io, store->dirfd);
	else if (rc == -EEXIST)
		rc = 0;
	if (rc == 0)
		rc = ret_place->fd = open_dir(io, store->dirfd, LOSTFOUND_DIR);
	if (rc >= 0)
		rc = find_free(ret_place, name);
	if (rc < 0) {
		lostfound_close(ret_place);
		return err_sys(err, rc, "cannot use %s", LOSTFOUND_DIR);
	}
	return 0;
}

void lostfound_close(struct lostfound *place)
{
	if (place->fd >= 0)
		place->store->io->close(place->store->io, place->fd);
	place->fd = -1;
}

int lostfound_link(const struct io_gate *io, int dirfd, int to, const struct id *id)
{
	static const char *const suffixes[] = {"super", "log", "ckpt"};
	char text[ID_TEXT];

	id_format(id, text);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		char file[NAME_TEXT];
		int rc;

		snprintf(file, sizeof(file), "%s.%s", text, suffixes[i]);
		rc = io->linkat(io, dirfd, file, to, file);
		if (rc < 0 && rc != -ENOENT && rc != -EEXIST)
			return rc;
	}
	return 0;
}

int lostfound_link_log(struct lostfound *place, int dirfd, const struct id *id, struct err *err)
{
	const struct io_gate *io = place->store->io;
	int rc = io->mkdirat(io, place->fd, place->name, 0700);
	int to = rc < 0 ? rc : open_dir(io, place->fd, place->name);

	if (to < 0)
		return err_sys(err, to, "cannot make %s/%s", LOSTFOUND_DIR, place->name);
	rc = lostfound_link(io, dirfd, to, id);
	if (rc == 0)
		rc = io->fsync(io, to);
	io->close(io, to);
	if (rc == 0)
		rc = io->fsync(io, place->fd);
	return rc < 0 ? err_sys(err, rc, "cannot keep the damaged log in %s/%s", LOSTFOUND_DIR,
				place->name) : 0;
}

int lostfound_move(struct lostfound *place, int dirfd, const char *name, struct err *err)
{
	const struct io_gate *io = place->store->io;
	int rc = directory_move(io, dirfd, name, place->fd, place->name);

	if (rc == 0)
		rc = io->fsync(io, place->fd);
	if (rc == 0)
		rc = io->fsync(io, dirfd);
	return rc < 0 ? err_sys(err, rc, "cannot move it to %s/%s", LOSTFOUND_DIR, place->name) : 0;
}
