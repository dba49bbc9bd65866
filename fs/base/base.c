/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holding a base: each of its images, then the table that shares bases.
 *
 * Every file is protected before anything in it is believed (file.c), from
 * the top down. What the images say of each other is checked last, when all
 * of them are held.
 *
 * The table's lock is never held across a look at an image.
 */
#include "fs/base/chain.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/identity-text.h"
#include "fs/base/names.h"
#include "fs/base/source.h"
#include "fs/util/cleanup.h"

static struct {
	pthread_mutex_t lock;
	struct base *first; /* under lock */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- a base's life ---- */

static void end(struct base *base)
{
	if (!base)
		return;
	for (uint32_t i = 0; base->images && i < base->n_images; i++)
		image_release(base->images[i]);
	free(base->images);
	free(base->files);
	free(base->paths);
	base_source_free(base->source);
	free(base->identity_text);
	free(base);
}

static struct base *base_new(const struct base_source *source)
{
	struct base *base = calloc(1, sizeof(*base));

	if (!base)
		return NULL;
	base->n_images = source->n_images;
	base->holds = 1;
	base->images = calloc(source->n_images, sizeof(struct image *));
	base->files = calloc(2 * (size_t)source->n_images, sizeof(struct file *));
	base->paths = calloc(2 * (size_t)source->n_images, sizeof(char *));
	if (base->images && base->files && base->paths &&
		source_copy(source, &base->source) == 0)
		return base;
	end(base);
	return NULL;
}

static void add_held(struct base *base, struct file *file, const char *path)
{
	base->files[base->n_files] = file;
	base->paths[base->n_files++] = path;
}

static int hold_image(struct base *base, uint32_t i, const struct base_source *source,
	const struct known *known, struct err *err)
{
	const struct image_wanted wanted = {
		.image = &source->images[i],
		.snapshot = i == 0 ? source->snapshot : NULL,
		.identity = known ? &known->images[i] : NULL,
		.data_identity = known ? &known->data[i] : NULL,
	};
	int rc = image_hold(&wanted, &base->images[i], err);

	if (rc < 0)
		return rc;
	add_held(base, base->images[i]->file, base->source->images[i].path);
	if (base->images[i]->data)
		add_held(base, base->images[i]->data, base->source->images[i].data_path);
	return 0;
}

static int check_names(const struct base *base, const struct base_source *source, bool known,
	struct err *err)
{
	int rc = known ? 0 : names_check_twins(source, err);

	for (uint32_t i = 0; rc == 0 && i < base->n_images; i++) {
		const struct qcow2_info *asks = base->images[i]->asks;

		if (asks && known)
			rc = names_check_known(source, i, asks, err);
		else if (asks)
			rc = names_check(source, i, asks, err);
	}
	return rc;
}

/* The text for what is held. */
static int format_identity(struct base *base, const struct base_source *source)
{
	struct base_source *copy;
	struct known *known = NULL;
	int rc = source_copy(source, &copy);

	if (rc == 0)
		rc = known_new(copy, &known);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < base->n_images; i++) {
		known->images[i] = base->images[i]->file->identity;
		if (base->images[i]->data)
			known->data[i] = base->images[i]->data->identity;
	}
	rc = known_format(known, &base->identity_text);
	known_free(known);
	return rc;
}

static int settle_identity(struct base *base, const struct base_source *source,
	const char *text, struct err *err)
{
	int rc;

	if (!text)
		rc = format_identity(base, source);
	else
		rc = (base->identity_text = strdup(text)) ? 0 : -ENOMEM;
	return rc < 0 ? err_sys(err, rc, "base %s: its identity", source->images[0].path) : 0;
}

/* known, text: what was recorded; both NULL: as it is now. */
static int fill(struct base *base, const struct base_source *source, const struct known *known,
	const char *text, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < base->n_images; i++)
		rc = hold_image(base, i, source, known, err);
	if (rc == 0)
		rc = check_names(base, source, known != NULL, err);
	if (rc == 0)
		rc = settle_identity(base, source, text, err);
	if (rc < 0)
		return rc;
	base->size_bytes = base->images[0]->size_bytes;
	if (source_is_raw(source))
		base->only = base->files[0];
	return 0;
}

/* ---- the table ---- */

/* The same images by the same names: what a base says of itself, its identity
 * included, names its files, and one of them may have moved. */
static bool same(const struct base *a, const struct base *b)
{
	if (a->n_images != b->n_images || a->n_files != b->n_files ||
		memcmp(a->images, b->images, a->n_images * sizeof(struct image *)) != 0)
		return false;
	for (uint32_t i = 0; i < a->n_files; i++)
		if (strcmp(a->paths[i], b->paths[i]) != 0)
			return false;
	return true;
}

/* Put it into the table, or return the twin that is there, with one hold more. */
static struct base *enter(struct base *base)
{
	SCOPED_LOCK(&table.lock);
	for (struct base *twin = table.first; twin; twin = twin->next) {
		if (same(twin, base)) {
			twin->holds++;
			return twin;
		}
	}
	base->next = table.first;
	table.first = base;
	return base;
}

/* One hold less; true when it was the last and the base left the table. */
static bool leave(struct base *base)
{
	struct base **link = &table.first;

	SCOPED_LOCK(&table.lock);
	if (--base->holds > 0)
		return false;
	while (*link != base)
		link = &(*link)->next;
	*link = base->next;
	return true;
}

/* ---- the door ---- */

static int hold(const struct base_source *source, const struct known *known, const char *text,
	struct base **ret_base, struct err *err)
{
	struct base *base = base_new(source);
	struct base *shared;
	int rc = base ? fill(base, source, known, text, err)
		      : err_sys(err, -ENOMEM, "base %s", source->images[0].path);

	if (rc < 0) {
		end(base);
		return rc;
	}
	shared = enter(base);
	if (shared != base)
		end(base);
	*ret_base = shared;
	return 0;
}

int base_hold(const struct base_source *source, struct base **ret_base, struct err *err)
{
	int rc = source_check(source, "source of a base", err);

	return rc < 0 ? rc : hold(source, NULL, NULL, ret_base, err);
}

int base_hold_known(const char *path, const char *identity, struct base **ret_base,
	struct err *err)
{
	struct known *known;
	int rc = known_parse(path, identity, &known, err);

	if (rc < 0)
		return rc;
	rc = hold(known->source, known, identity, ret_base, err);
	known_free(known);
	return rc;
}

struct base *base_ref(struct base *base)
{
	SCOPED_LOCK(&table.lock);
	base->holds++;
	return base;
}

void base_release(struct base *base)
{
	if (base && leave(base))
		end(base);
}

const char *base_identity(const struct base *base)
{
	return base->identity_text;
}

/* Add what one file contributes. */
static void add_file(struct file *file, const char *path, struct base_info *info)
{
	enum base_state state = gate_state(&file->gate);
	bool moved = file_moved(file, path);

	info->allocated_bytes += file->raw.allocated_bytes;
	info->leased &= atomic_load(&file->watch.leased);
	info->moved |= moved;
	if (state > info->state || (moved && !info->trouble))
		info->trouble = path;
	if (state > info->state)
		info->state = state;
}

void base_info(struct base *base, struct base_info *ret_info)
{
	struct base_info info = {
		.path = base->paths[0],
		.format = base->images[0]->qcow2 ? "qcow2" : "raw",
		.size_bytes = base->size_bytes,
		.leased = true,
		.n_files = base->n_files,
	};

	for (uint32_t i = 0; i < base->n_files; i++)
		add_file(base->files[i], base->paths[i], &info);
	SCOPED_LOCK(&table.lock);
	info.holds = base->holds;
	*ret_info = info;
}

bool base_identity_equal(const char *a, const char *b)
{
	struct known *ka = NULL;
	struct known *kb = NULL;
	bool equal = known_parse("/", a, &ka, NULL) == 0 && known_parse("/", b, &kb, NULL) == 0 &&
		known_same(ka, kb);

	known_free(ka);
	known_free(kb);
	return equal;
}

int base_identity_source(const char *path, const char *identity,
	struct base_source **ret_source, struct err *err)
{
	struct known *known;
	int rc = known_parse(path, identity, &known, err);

	if (rc < 0)
		return rc;
	*ret_source = steal_ptr(&known->source);
	known_free(known);
	return 0;
}
