/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A delta as opening it would find it: see look.h. */
#include "fs/store/look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fs/store/handle.h"
#include "fs/util/cleanup.h"

#define NAME_TEXT (ID_TEXT + 8)

static int open_file(const struct log *log, const char *suffix, char file[static NAME_TEXT],
	struct err *err)
{
	int fd;

	snprintf(file, NAME_TEXT, "%.32s.%s", log->name, suffix);
	fd = log->io->openat(log->io, log->dirfd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd == -ENOENT)
		return err_set(err, -EUCLEAN, "%s is missing", file);
	return fd < 0 ? err_sys(err, fd, "cannot open %s", file) : fd;
}

static int look_super(struct log *log, struct err *err)
{
	char file[NAME_TEXT];
	struct id id;
	int fd = open_file(log, "super", file, err);
	int rc;

	if (fd < 0)
		return fd;
	log->super_fd = fd;
	rc = super_read(log->io, fd, &log->super, &log->super_whole, err);
	if (rc == 0 && (id_parse(log->name, &id) < 0 || !id_equal(&id, &log->super.id)))
		rc = err_set(err, -EUCLEAN, "%s belongs to another delta", file);
	memcpy(log->key, log->super.key, sizeof(log->key));
	log->identity = log->super;
	return rc;
}

static int look(struct delta *view, bool checkpoint, struct err *err)
{
	struct log *log = &view->log;
	char file[NAME_TEXT];
	bool clean;
	int fd, rc = look_super(log, err);

	if (rc < 0)
		return rc;
	fd = open_file(log, "log", file, err);
	if (fd < 0)
		return fd;
	log->log_fd = fd;
	log->no_checkpoint = !checkpoint;
	rc = log_replay(log, file, &clean, err);
	atomic_store(&view->size_bytes, log->super.size_bytes);
	return rc;
}

int delta_look(const struct io_gate *io, int dirfd, const char *name, bool checkpoint,
	struct delta **ret_view, struct err *err)
{
	struct delta *view = delta_new_view(io, dirfd, name);
	int rc = view ? look(view, checkpoint, err) : err_sys(err, -ENOMEM, "cannot open it");

	if (rc < 0) {
		err_prefix(err, "delta %s", name);
		if (view)
			delta_abandon(view);
		return rc;
	}
	*ret_view = view;
	return 0;
}

int delta_look_empty(const struct io_gate *io, uint64_t size_bytes, struct delta **ret_view)
{
	struct delta *view = delta_new_view(io, AT_FDCWD, "");

	if (!view)
		return -ENOMEM;
	view->log.super.size_bytes = size_bytes;
	atomic_store(&view->size_bytes, size_bytes);
	*ret_view = view;
	return 0;
}
