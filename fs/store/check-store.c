/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking a store: leftovers, manifests, clones, layers. See check.h. */
#include "fs/store/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/check-store.h"
#include "fs/store/layers.h"
#include "fs/store/lostfound.h"
#include "fs/store/sealed.h"
#include "fs/store/strays.h"
#include "fs/util/cleanup.h"

#define WHERE_TEXT (STORE_NAME_MAX + STORE_TARGET_MAX + 64)

/* ---- leftovers ---- */

/* One entry of a directory, for the repair of it. */
struct entry {
	struct checking_store *s;
	const char *name;
};

static int fix_temp(void *ctx, struct err *err)
{
	struct entry *entry = ctx;

	return entry->s->io->unlinkat(entry->s->io, entry->s->store->dirfd, entry->name, 0);
}

static int fix_trash(void *ctx, struct err *err)
{
	struct entry *entry = ctx;

	return directory_delete(entry->s->io, entry->s->store->trash_fd, entry->name);
}

static int fix_stage(void *ctx, struct err *err)
{
	struct entry *entry = ctx;

	return store_stage_sweep(entry->s->store, entry->name, err);
}

static int report_temp(void *ctx, int fd, const char *name)
{
	struct entry entry = {.s = ctx, .name = name};

	if (label_is_temp(name))
		check_report(entry.s->check, PROBLEM_TEMP, "", name, fix_temp, &entry);
	return 0;
}

static int report_trash(void *ctx, int fd, const char *name)
{
	struct entry entry = {.s = ctx, .name = name};

	check_report(entry.s->check, PROBLEM_TRASH, "", name, fix_trash, &entry);
	return 0;
}

static int report_stage(void *ctx, int fd, const char *name)
{
	struct entry entry = {.s = ctx, .name = name};
	struct id id;

	if (id_parse(name, &id) == 0)
		check_report(entry.s->check, PROBLEM_STAGE, "", name, fix_stage, &entry);
	return 0;
}

static int count_entry(void *ctx, int fd, const char *name)
{
	++*(uint32_t *)ctx;
	return 0;
}

static void note(struct checking_store *s, const char *where, const char *text)
{
	if (s->check->note)
		s->check->note(s->check->ctx, where, text);
}

/* A stage that a journal may name is its maker's, or the next command's to
 * undo. The stages are counted before the journals: a journal is there from
 * before its stage is made until it is gone. */
static int check_stages(struct checking_store *s)
{
	uint32_t stages = 0, journals = 0;
	int rc = directory_each(s->io, s->store->staging_fd, ".", count_entry, &stages);

	if (rc == 0)
		rc = directory_each(
			s->io, s->store->dirfd, DIRECTORY_JOURNAL, count_entry, &journals);
	if (rc < 0 || stages == 0)
		return rc;
	if (journals > 0) {
		note(s, "", "clones are being made, or the next lazyclone command undoes what was "
			    "begun: staging is left as it is");
		return 0;
	}
	return directory_each(s->io, s->store->staging_fd, ".", report_stage, s);
}

static int check_leftovers(struct checking_store *s)
{
	int rc = directory_each(s->io, s->store->dirfd, ".", report_temp, s);

	if (rc == 0)
		rc = directory_each(s->io, s->store->trash_fd, ".", report_trash, s);
	return rc == 0 ? check_stages(s) : rc;
}

/* ---- manifests ---- */

static bool is_wanted(const struct checking_store *s, const char *name)
{
	for (uint32_t i = 0; i < s->n_names; i++)
		if (strcmp(s->names[i], name) == 0)
			return true;
	return s->n_names == 0;
}

struct logs {
	char *text;
	size_t room;
};

/* A list of the logs that lie in a directory, as long as there is room. */
static int add_log(void *ctx, int fd, const char *name)
{
	struct logs *logs = ctx;
	const char *dot = strchr(name, '.');
	int n;

	if (!dot || strcmp(dot, ".log") != 0)
		return 0;
	n = snprintf(logs->text, logs->room, " %.32s", name);
	if (n < 0 || (size_t)n >= logs->room)
		return 1;
	logs->text += n;
	logs->room -= (size_t)n;
	return 0;
}

static int fix_manifest(void *ctx, struct err *err)
{
	struct entry *entry = ctx;

	return check_move_clone(entry->s, entry->name, err);
}

static void report_manifest(struct checking_store *s, const char *name, const char *why)
{
	struct entry entry = {.s = s, .name = name};
	char detail[ERR_MESSAGE_MAX + 512], where[WHERE_TEXT];
	int n = snprintf(detail, sizeof(detail), "%s; its logs:", why);
	struct logs logs = {.text = detail + n, .room = sizeof(detail) - (size_t)n};

	snprintf(where, sizeof(where), "clone %s", name);
	directory_each(s->io, s->store->clones_fd, name, add_log, &logs);
	if (!check_report(s->check, PROBLEM_MANIFEST, where, detail, fix_manifest, &entry))
		s->unreadable = true;
}

/* A newer lazyclone's is whole, and none of our business. */
static bool is_newer(const struct checking_store *s, const char *name)
{
	char path[STORE_NAME_MAX + sizeof("/" DIRECTORY_MANIFEST)];
	AUTO_FREE char *text = NULL;
	size_t len;

	snprintf(path, sizeof(path), "%s/" DIRECTORY_MANIFEST, name);
	return io_slurp(s->io, s->store->clones_fd, path, STORE_MANIFEST_MAX, &text, &len) == 0 &&
	       sealed_is_newer(text, len);
}

static int read_manifest(struct checking_store *s, const char *name)
{
	struct err why = {0};
	bool damaged;
	int rc = store_manifest_read(s->store, name, &s->manifests[s->n_manifests], &why);

	if (rc == 0) {
		s->n_manifests++;
		return 0;
	}
	if (rc == -ENOMEM)
		return rc;
	damaged = rc == -EUCLEAN && !is_newer(s, name);
	if (damaged && is_wanted(s, name)) {
		s->damaged[s->n_damaged++] = name;
		return 0;
	}
	s->unreadable = true;
	if (!damaged)
		check_report(s->check, PROBLEM_READ, "", why.message, NULL, NULL);
	return 0;
}

/* The good ones first: what none of them needs may be a damaged one's. */
static int check_manifests(struct checking_store *s, struct err *err)
{
	char **names;
	uint32_t n;
	int rc = store_list(s->store, &names, &n, err);

	if (rc < 0)
		return rc;
	s->manifests = calloc(n + 1, sizeof(*s->manifests));
	s->damaged = calloc(n + 1, sizeof(*s->damaged));
	rc = s->manifests && s->damaged ? 0 : -ENOMEM;
	for (uint32_t i = 0; rc == 0 && i < n; i++)
		rc = read_manifest(s, names[i]);
	for (uint32_t i = 0; rc == 0 && i < s->n_damaged; i++) {
		struct manifest *m = NULL;
		struct err why = {0};

		if (store_manifest_read(s->store, s->damaged[i], &m, &why) < 0)
			report_manifest(s, s->damaged[i], why.message);
		manifest_free(m);
	}
	s->n_damaged = 0;
	store_names_free(names, n);
	return rc;
}

static int check_names(const struct checking_store *s, struct err *err)
{
	for (uint32_t i = 0; i < s->n_names; i++) {
		int fd = store_clone_dirfd(s->store, s->names[i]);

		if (fd < 0)
			return err_set(err, -ENOENT, "clone %s: not in the store", s->names[i]);
		s->io->close(s->io, fd);
	}
	return 0;
}

static int fix_node(void *ctx, struct err *err)
{
	struct cloning *c = ctx;
	struct manifest *m;
	int rc = manifest_copy(c->s->manifests[c->manifest], &m);

	if (rc < 0)
		return rc;
	do
		m->node = random_u64() & STORE_NODE_MAX;
	while (m->node == 0);
	return check_put_manifest(c->s, c->manifest, m, err);
}

/* ---- one clone ---- */

struct strays_found {
	const struct manifest *manifest;
	uint32_t n;
	char first[64];
};

static int count_stray(void *ctx, int fd, const char *name)
{
	struct strays_found *found = ctx;

	if (!strays_is_one(found->manifest, name))
		return 0;
	if (found->n++ == 0)
		snprintf(found->first, sizeof(found->first), "%.63s", name);
	return 0;
}

static int fix_strays(void *ctx, struct err *err)
{
	struct cloning *c = ctx;

	return strays_sweep(c->s->io, c->dirfd, c->s->manifests[c->manifest]);
}

static void check_strays(struct cloning *c, const char *where)
{
	struct strays_found found = {.manifest = c->s->manifests[c->manifest]};
	char detail[128];

	directory_each(c->s->io, c->dirfd, ".", count_stray, &found);
	if (found.n == 0)
		return;
	snprintf(detail, sizeof(detail), "%u files, the first is %s", found.n, found.first);
	check_report(c->s->check, PROBLEM_STRAY, where, detail, fix_strays, c);
}

static void check_node(struct cloning *c, const char *where)
{
	const struct manifest *m = c->s->manifests[c->manifest];

	for (uint32_t i = 0; i < c->manifest; i++)
		if (c->s->manifests[i]->node == m->node) {
			check_report(c->s->check, PROBLEM_NODE, where, c->s->manifests[i]->name,
				fix_node, c);
			return;
		}
}

static int check_disk(struct cloning *c, uint32_t i, struct err *err)
{
	const struct store_disk *disk = &c->s->manifests[c->manifest]->disks[i];
	struct id id = disk->log;
	char where[WHERE_TEXT];
	struct check_target target = {
		.dirfd = c->dirfd,
		.id = &id,
		.where = where,
		.size_bytes = disk->size_bytes,
		.adopt = check_adopt_delta,
		.ctx = c,
	};

	snprintf(where, sizeof(where), "clone %s: disk %s",
		c->s->manifests[c->manifest]->name, disk->target);
	c->disk = i;
	c->s->check->deltas++;
	return check_delta(c->s->check, c->s->io, &target, err);
}

static int check_clone(struct checking_store *s, uint32_t nth, struct err *err)
{
	struct cloning c = {.s = s, .manifest = nth};
	const struct manifest *m = s->manifests[nth];
	char where[WHERE_TEXT];
	int rc = 0;

	c.dirfd = store_clone_dirfd(s->store, m->name);
	if (c.dirfd < 0)
		return c.dirfd == -ENOENT ? 0 : err_sys(err, c.dirfd, "clone %s", m->name);
	snprintf(where, sizeof(where), "clone %s", m->name);
	s->check->clones++;
	check_node(&c, where);
	check_strays(&c, where);
	if (s->check->clone)
		s->check->clone(s->check->ctx, s->check, s->manifests[nth]);
	for (uint32_t i = 0; rc == 0 && i < s->manifests[nth]->n_disks; i++)
		rc = check_disk(&c, i, err);
	s->io->close(s->io, c.dirfd);
	return rc;
}

/* ---- layers ---- */

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct id)); /* a layer begins with its id */
}

/* Those of the clones that are checked, each once. */
static int list_layers(struct checking_store *s, struct store_layer **ret_layers, uint32_t *ret_n)
{
	struct store_layer *layers;
	uint32_t n = 0, unique = 0;

	for (uint32_t i = 0; i < s->n_manifests; i++)
		for (uint32_t k = 0; k < s->manifests[i]->n_disks; k++)
			n += s->manifests[i]->disks[k].n_layers;
	layers = calloc(n + 1, sizeof(*layers));
	if (!layers)
		return -ENOMEM;
	n = 0;
	for (uint32_t i = 0; i < s->n_manifests; i++)
		for (uint32_t k = 0; k < s->manifests[i]->n_disks; k++) {
			const struct store_disk *disk = &s->manifests[i]->disks[k];

			if (!is_wanted(s, s->manifests[i]->name) || disk->n_layers == 0)
				continue;
			memcpy(layers + n, disk->layers, disk->n_layers * sizeof(*layers));
			n += disk->n_layers;
		}
	qsort(layers, n, sizeof(*layers), by_id);
	for (uint32_t i = 0; i < n; i++)
		if (i == 0 || by_id(&layers[i], &layers[unique - 1]) != 0)
			layers[unique++] = layers[i];
	*ret_layers = layers;
	*ret_n = unique;
	return 0;
}

static int check_layer(struct checking_store *s, const struct store_layer *layer, struct err *err)
{
	struct layering l = {.s = s, .id = layer->id};
	char text[ID_TEXT], where[WHERE_TEXT];
	struct check_target target = {
		.dirfd = s->store->layers_fd,
		.id = &layer->id,
		.where = where,
		.size_bytes = layer->size_bytes,
		.layer = true,
		.adopt = check_adopt_layer,
		.ctx = &l,
	};

	id_format(&layer->id, text);
	snprintf(where, sizeof(where), "layer %s", text);
	s->check->layers++;
	return check_delta(s->check, s->io, &target, err);
}

static int check_layers(struct checking_store *s, struct err *err)
{
	AUTO_FREE struct store_layer *layers = NULL;
	uint32_t n = 0;
	int rc = list_layers(s, &layers, &n);

	if (rc == 0 && s->check->repair) {
		/* So that nobody takes a new log for a layer that is not needed. */
		s->lock_fd = layers_lock(s->store, false);
		if (s->lock_fd < 0)
			return err_sys(err, s->lock_fd, "cannot lock the layers");
	}
	for (uint32_t i = 0; rc == 0 && i < n; i++)
		rc = check_layer(s, &layers[i], err);
	layers_unlock(s->store, s->lock_fd);
	s->lock_fd = -1;
	return rc;
}

static int fix_unused(void *ctx, struct err *err)
{
	struct checking_store *s = ctx;

	return store_layers_sweep(s->store, NULL, err);
}

static void check_unused(struct checking_store *s)
{
	struct check_unused unused = {.s = s, .to = -1};
	char detail[64];

	if (s->unreadable) {
		note(s, "", "a manifest cannot be read, so nobody knows which layers are needed");
		return;
	}
	if (check_find_unused(&unused) < 0 || unused.n == 0)
		return;
	snprintf(detail, sizeof(detail), "%u files", unused.n);
	check_report(s->check, PROBLEM_LAYER_UNUSED, "", detail, fix_unused, s);
}

/* ---- all ---- */

static void release(struct checking_store *s)
{
	for (uint32_t i = 0; i < s->n_manifests; i++)
		manifest_free(s->manifests[i]);
	free(s->manifests);
	free(s->damaged);
}

int check_store(struct check *check, const struct io_gate *io, struct store *store,
	char *const *names, uint32_t n, struct err *err)
{
	struct checking_store s = {
		.check = check, .io = io, .store = store, .names = names, .n_names = n,
		.lock_fd = -1};
	int rc = check_names(&s, err);

	if (rc == 0 && n == 0) {
		rc = check_leftovers(&s);
		if (rc < 0)
			err_sys(err, rc, "cannot look into the store");
	}
	if (rc == 0)
		rc = check_manifests(&s, err);
	for (uint32_t i = 0; rc == 0 && i < s.n_manifests; i++)
		if (is_wanted(&s, s.manifests[i]->name))
			rc = check_clone(&s, i, err);
	if (rc == 0)
		rc = check_layers(&s, err);
	if (rc == 0 && n == 0)
		check_unused(&s);
	release(&s);
	if (rc < 0 && err->code == 0)
		err_sys(err, rc, "cannot check the store");
	return rc;
}
