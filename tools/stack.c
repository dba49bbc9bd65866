/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk of a clone put together for reading only: see stack.h. */
#include "tools/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fs/store/look.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

#define NAME_TEXT (ID_TEXT + 8)

/* One disk being put together. */
struct stacking {
	struct store *store;
	const struct stack_wanted *wanted;
	const struct store_disk *disk;
	struct stack_view *view;
	/* The topmost is the disk's delta (below 0 layers), layer top - 1, or nothing
	 * (top is beyond the layers). */
	uint32_t top;
	struct layer *layers[STORE_LAYERS_MAX];
	uint32_t n_layers;
	struct err *err;
};

static int find_disk(struct stacking *s, const struct manifest *m)
{
	for (uint32_t i = 0; i < m->n_disks; i++)
		if (strcmp(m->disks[i].target, s->wanted->target) == 0)
			s->disk = &m->disks[i];
	if (s->disk)
		return 0;
	return err_set(s->err, -ENOENT, "clone %s: it has no disk %s", m->name, s->wanted->target);
}

static int find_layer(struct stacking *s)
{
	struct id id;

	if (id_parse(s->wanted->layer, &id) < 0)
		return err_set(s->err, -EINVAL, "%s is no layer's id", s->wanted->layer);
	for (uint32_t i = 0; i < s->disk->n_layers; i++)
		if (id_equal(&s->disk->layers[i].id, &id)) {
			s->top = i + 1;
			return 0;
		}
	return err_set(s->err, -ENOENT, "disk %s does not stand on layer %s", s->disk->target,
		s->wanted->layer);
}

static int find_top(struct stacking *s, const struct manifest *m)
{
	const struct store_snapshot *snapshot;

	s->top = 0;
	if (s->wanted->layer)
		return find_layer(s);
	if (!s->wanted->snapshot)
		return 0;
	snapshot = manifest_snapshot(m, s->wanted->snapshot);
	if (!snapshot)
		return err_set(s->err, -ENOENT, "clone %s: it has no snapshot %s", m->name,
			s->wanted->snapshot);
	s->top = manifest_snapshot_top(m, snapshot, s->disk) + 1;
	return 0;
}

/* ---- the parts ---- */

static int err_served(const struct stacking *s, const char *what)
{
	err_set(s->err, -EBUSY, "disk %s: %s", s->disk->target, what);
	err_hint(s->err, "export a snapshot of it, or stop the daemon first (lazyclone umount)");
	return -EBUSY;
}

/* As the daemon does it, so that neither opens what the other has. One that has
 * closed the disk while it is idle opens it when its machine asks for it, which
 * must not fail because of us. */
static int lock_delta(struct stacking *s, int dirfd, const char *name)
{
	char file[NAME_TEXT];
	int rc;

	snprintf(file, sizeof(file), "%s.super", name);
	s->view->lock_fd = openat(dirfd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (s->view->lock_fd < 0)
		return err_sys(s->err, -errno, "%s", file);
	rc = io_lock(s->view->lock_fd, false, 0, 1);
	if (rc == -EAGAIN)
		return err_served(s, "a daemon has it open");
	if (rc < 0)
		return err_sys(s->err, rc, "%s", file);
	/* An error: the store is read-only, and no daemon's. */
	if (store_locked(s->store) > 0)
		return err_served(s, "a daemon serves it, and opens it when it is asked to");
	return 0;
}

static int open_delta(struct stacking *s, struct delta **ret_delta)
{
	AUTO_CLOSE int dirfd = store_clone_dirfd(s->store, s->wanted->clone);
	char name[ID_TEXT];
	int rc;

	if (dirfd < 0)
		return err_sys(s->err, dirfd, "clone %s", s->wanted->clone);
	id_format(&s->disk->log, name);
	rc = lock_delta(s, dirfd, name);
	return rc < 0 ? rc : delta_look(&io_kernel, dirfd, name, true, ret_delta, s->err);
}

static int open_layer(struct stacking *s, uint32_t i, struct delta **ret_delta)
{
	char name[ID_TEXT];

	id_format(&s->disk->layers[i].id, name);
	return delta_look(&io_kernel, s->view->layers_fd, name, true, ret_delta, s->err);
}

static int open_top(struct stacking *s, struct delta **ret_delta)
{
	int rc;

	if (s->top == 0)
		return open_delta(s, ret_delta);
	if (s->top <= s->disk->n_layers)
		return open_layer(s, s->top - 1, ret_delta);
	rc = delta_look_empty(&io_kernel, round_up(s->disk->base_limit_bytes, 512),
		ret_delta);
	return rc < 0 ? err_sys(s->err, rc, "disk %s", s->disk->target) : 0;
}

static int hold_layer(struct stacking *s, uint32_t i)
{
	struct delta *delta;
	struct layer *layer;
	int rc = open_layer(s, i, &delta);

	if (rc < 0)
		return rc;
	rc = layer_expect(s->view->pool, &s->disk->layers[i].id, &layer);
	if (rc < 0) {
		delta_abandon(delta);
		return err_sys(s->err, rc, "layer");
	}
	layer_adopt(layer, delta);
	s->layers[s->n_layers++] = layer;
	return 0;
}

static int hold_layers(struct stacking *s)
{
	int rc = layer_pool_new(&io_kernel, s->view->layers_fd, false, &s->view->pool);

	if (rc < 0)
		return err_sys(s->err, rc, "layers");
	for (uint32_t i = s->top; rc == 0 && i < s->disk->n_layers; i++)
		rc = hold_layer(s, i);
	return rc;
}

static int put_together(struct stacking *s)
{
	struct delta *delta = NULL;
	struct base *base = NULL;
	int rc = hold_layers(s);

	if (rc == 0)
		rc = open_top(s, &delta);
	if (rc == 0 && s->disk->base_path)
		rc = base_hold_known(s->disk->base_path, s->disk->base_identity, &base, s->err);
	if (rc == 0) {
		rc = disk_open(delta, s->layers, s->n_layers, base, s->disk->base_limit_bytes,
			&s->view->disk);
		if (rc == 0)
			return 0;
		err_sys(s->err, rc, "disk %s", s->disk->target);
	}
	base_release(base);
	if (delta)
		delta_abandon(delta);
	for (uint32_t i = 0; i < s->n_layers; i++)
		layer_release(s->layers[i]);
	return rc;
}

int stack_open(struct store *store, const struct stack_wanted *wanted,
	struct stack_view *ret_view, struct err *err)
{
	struct stacking s = {.store = store, .wanted = wanted, .view = ret_view, .err = err};
	struct manifest *m;
	int rc = store_manifest_read(store, wanted->clone, &m, err);

	if (rc < 0)
		return rc;
	*ret_view = (struct stack_view){.layers_fd = -1, .lock_fd = -1};
	ret_view->layers_fd = openat(
		store_dirfd(store), "layers", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (ret_view->layers_fd < 0)
		rc = err_sys(err, -errno, "layers");
	if (rc == 0)
		rc = find_disk(&s, m);
	if (rc == 0)
		rc = find_top(&s, m);
	if (rc == 0)
		rc = put_together(&s);
	manifest_free(m);
	if (rc < 0)
		stack_close(ret_view);
	return rc;
}

void stack_close(struct stack_view *view)
{
	disk_abandon(view->disk);
	layer_pool_free(view->pool);
	close_fd(&view->layers_fd);
	close_fd(&view->lock_fd);
	*view = (struct stack_view){.layers_fd = -1, .lock_fd = -1};
}
