/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading the manifests of all stores: see bases.h. */
#include "clone/plan/bases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clone/plan/service.h"
#include "clone/state/paths.h"
#include "clone/state/stores.h"
#include "fs/ctl/ctl.h"
#include "fs/util/cleanup.h"
#include "fs/util/text.h"

#define USERS_SHOWN 5 /* of those who keep something from being done */

static void entry_clear(struct bases_entry *entry)
{
	for (uint32_t i = 0; i < entry->n_users; i++)
		free(entry->users[i].clone);
	free(entry->users);
	base_files_free(entry->files, entry->n_files);
	free(entry->path);
	free(entry->format);
	free(entry->identity);
}

void bases_clear(struct bases *bases)
{
	for (uint32_t i = 0; i < bases->n_entries; i++)
		entry_clear(&bases->entries[i]);
	for (uint32_t i = 0; i < bases->n_stores; i++) {
		struct bases_store *store = &bases->stores[i];

		json_decref(store->shown);
		json_decref(store->daemon);
		store_close(store->store);
		free(store->path);
	}
	free(bases->entries);
	free(bases->stores);
	memset(bases, 0, sizeof(*bases));
}

/* ---- stores ---- */

static struct bases_store *add_store(struct bases *bases, const struct id *id, const char *path)
{
	struct bases_store *grown =
		reallocarray(bases->stores, bases->n_stores + 1, sizeof(*grown));
	struct bases_store *store;

	if (!grown)
		return NULL;
	bases->stores = grown;
	store = &grown[bases->n_stores];
	*store = (struct bases_store){.id = *id, .path = path ? strdup(path) : NULL};
	if (path && !store->path)
		return NULL;
	bases->n_stores++;
	return store;
}

/* Its clones by name: there may be thousands. */
static json_t *index_clones(const json_t *daemon)
{
	json_t *shown = json_object(), *clone;
	size_t i;

	json_array_foreach(json_object_get(daemon, "clones"), i, clone) {
		const char *name = json_string_value(json_object_get(clone, "name"));

		if (name)
			json_object_set(shown, name, clone);
	}
	return shown;
}

/* One that hangs would keep us waiting: its mount is asked first. */
static void ask_daemon(struct bases_store *store)
{
	AUTO_FREE char *mountpoint = NULL;
	struct ctl *ctl;

	if (paths_mountpoint(store->path, &mountpoint, NULL) < 0 ||
		service_mount_state(mountpoint) == MOUNT_HUNG ||
		ctl_connect(&store->id, &ctl, NULL) < 0)
		return;
	if (ctl_status(ctl, &store->daemon, NULL) == 0)
		store->shown = index_clones(store->daemon);
	ctl_close(ctl);
}

static void open_store(struct bases_store *store, bool ask)
{
	int rc;

	if (!store->path) {
		err_set(&store->err, -EUCLEAN, "its entry in the register is damaged");
		return;
	}
	rc = store_open(&io_kernel, store->path, &store->store, &store->err);
	if (rc == 0 && !id_equal(store_id(store->store), &store->id)) {
		store_close(steal_ptr(&store->store));
		rc = err_set(&store->err, -ENOENT, "another store is at %s now", store->path);
	}
	store->gone = rc == -ENOENT;
	if (rc == 0 && ask)
		ask_daemon(store);
}

static int add_noted_stores(struct bases *bases, struct err *err)
{
	struct stores_entry *noted;
	uint32_t count;
	int rc = stores_list(&noted, &count, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		if (!add_store(bases, &noted[i].id, noted[i].path))
			rc = err_sys(err, -ENOMEM, "looking for stores");
	stores_free(noted, count);
	return rc;
}

/* The session's own: one that was made before there was a register, or that
 * was moved since, is where the session found it. */
static int add_own_store(struct session *session, struct bases *bases, struct err *err)
{
	struct bases_store *known;
	struct store *own;
	int rc = session_need_store(session, false, &own, err);

	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < bases->n_stores; i++) {
		known = &bases->stores[i];
		if (!id_equal(&known->id, store_id(own)))
			continue;
		free(known->path);
		known->path = strdup(store_path(own));
		return known->path ? 0 : err_sys(err, -ENOMEM, "looking for stores");
	}
	if (!add_store(bases, store_id(own), store_path(own)))
		return err_sys(err, -ENOMEM, "looking for stores");
	return 0;
}

static int by_store_path(const void *a, const void *b)
{
	const char *x = ((const struct bases_store *)a)->path;
	const char *y = ((const struct bases_store *)b)->path;

	return x && y ? strcmp(x, y) : !!x - !!y;
}

/* ---- entries ---- */

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct bases_entry *)a)->path, ((const struct bases_entry *)b)->path);
}

static bool is_entry(const struct bases_entry *entry, const struct store_disk *disk)
{
	return strcmp(entry->path, disk->base_path) == 0 &&
		(strcmp(entry->identity, disk->base_identity) == 0 ||
			base_identity_equal(entry->identity, disk->base_identity));
}

/* The last one found is often the next one, too. */
static struct bases_entry *find_entry(struct bases *bases, const struct store_disk *disk)
{
	for (uint32_t i = bases->n_entries; i > 0; i--)
		if (is_entry(&bases->entries[i - 1], disk))
			return &bases->entries[i - 1];
	return NULL;
}

static int add_entry(struct bases *bases, const struct store_disk *disk,
	struct bases_entry **ret_entry, struct err *err)
{
	struct bases_entry *grown =
		reallocarray(bases->entries, bases->n_entries + 1, sizeof(*grown));
	struct bases_entry *entry;
	int rc;

	if (!grown)
		return err_sys(err, -ENOMEM, "base %s", disk->base_path);
	bases->entries = grown;
	entry = &grown[bases->n_entries];
	*entry = (struct bases_entry){
		.path = strdup(disk->base_path),
		.format = strdup(disk->base_format ? disk->base_format : "raw"),
		.identity = strdup(disk->base_identity),
		.size_bytes = disk->base_limit_bytes,
	};
	rc = entry->path && entry->format && entry->identity
		? base_files(entry->path, entry->identity, &entry->files, &entry->n_files, err)
		: err_sys(err, -ENOMEM, "base %s", disk->base_path);
	if (rc < 0) {
		entry_clear(entry);
		return rc;
	}
	bases->n_entries++;
	*ret_entry = entry;
	return 0;
}

static int add_user(struct bases_entry *entry, uint32_t store, const char *clone,
	const char *target)
{
	struct bases_user *grown = reallocarray(entry->users, entry->n_users + 1, sizeof(*grown));
	struct bases_user *user;

	if (!grown)
		return -ENOMEM;
	entry->users = grown;
	user = &grown[entry->n_users];
	*user = (struct bases_user){.store = store, .clone = strdup(clone)};
	if (!user->clone)
		return -ENOMEM;
	strcpy(user->target, target);
	entry->n_users++;
	return 0;
}

static int add_manifest(struct bases *bases, uint32_t store, const struct manifest *m,
	struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < m->n_disks; i++) {
		const struct store_disk *disk = &m->disks[i];
		struct bases_entry *entry;

		if (!disk->base_path)
			continue;
		entry = find_entry(bases, disk);
		if (!entry)
			rc = add_entry(bases, disk, &entry, err);
		if (rc == 0 && add_user(entry, store, m->name, disk->target) < 0)
			rc = err_sys(err, -ENOMEM, "clone %s", m->name);
	}
	return rc;
}

/* A clone whose manifest cannot be read may need anything: a hole, as a store
 * that cannot be read. Of several, the first one is told. */
static int add_clone(struct bases *bases, uint32_t store, const char *name, struct err *err)
{
	struct err why = {.code = 0};
	struct manifest *m;
	int rc = store_manifest_read(bases->stores[store].store, name, &m, &why);

	if (rc == 0) {
		rc = add_manifest(bases, store, m, &why);
		manifest_free(m);
	}
	if (rc == -ENOMEM)
		return err_sys(err, rc, "looking at clone %s", name);
	if (rc < 0 && rc != -ENOENT && !bases->stores[store].err.code) {
		bases->stores[store].err = why;
		err_prefix(&bases->stores[store].err, "clone %s", name);
	}
	return 0;
}

static int add_clones(struct bases *bases, uint32_t store, struct err *err)
{
	char **names;
	uint32_t count;
	int rc = store_list(bases->stores[store].store, &names, &count,
		&bases->stores[store].err);

	if (rc < 0)
		return 0;
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = add_clone(bases, store, names[i], err);
	store_names_free(names, count);
	return rc;
}

static int load(struct session *session, bool ask, struct bases *ret_bases, struct err *err)
{
	struct bases bases = {.n_stores = 0};
	int rc = add_noted_stores(&bases, err);

	if (rc == 0)
		rc = add_own_store(session, &bases, err);
	if (bases.n_stores > 0)
		qsort(bases.stores, bases.n_stores, sizeof(*bases.stores), by_store_path);
	for (uint32_t i = 0; rc == 0 && i < bases.n_stores; i++) {
		open_store(&bases.stores[i], ask);
		if (bases.stores[i].store)
			rc = add_clones(&bases, i, err);
	}
	if (rc < 0) {
		bases_clear(&bases);
		return rc;
	}
	if (bases.n_entries > 0)
		qsort(bases.entries, bases.n_entries, sizeof(*bases.entries), by_path);
	*ret_bases = bases;
	return 0;
}

int bases_load(struct session *session, struct bases *ret_bases, struct err *err)
{
	return load(session, true, ret_bases, err);
}

int bases_load_manifests(struct session *session, struct bases *ret_bases, struct err *err)
{
	return load(session, false, ret_bases, err);
}

/* ---- holes ---- */

static const char *name_of(const struct bases_store *store, char id[static ID_TEXT])
{
	id_format(&store->id, id);
	return store->path ? store->path : id;
}

int bases_check_whole(const struct bases *bases, bool gone_is_well, struct err *err)
{
	for (uint32_t i = 0; i < bases->n_stores; i++) {
		const struct bases_store *store = &bases->stores[i];
		char id[ID_TEXT];

		if (!store->err.code || (store->gone && gone_is_well))
			continue;
		err_set(err, store->err.code, "store %s may have clones that need it: %s",
			name_of(store, id), store->err.message);
		if (store->gone)
			err_hint(err, "mount or move it back; if it is gone for good: "
				"--forget-missing");
		else
			err_hint(err, "make that store readable first");
		return store->err.code;
	}
	return 0;
}

void bases_say_holes(struct session *session, const struct bases *bases)
{
	for (uint32_t i = 0; i < bases->n_stores; i++) {
		const struct bases_store *store = &bases->stores[i];
		char id[ID_TEXT];

		if (store->err.code)
			session_notice(session, "store %s: %s: its clones are not counted",
				name_of(store, id), store->err.message);
	}
}

/* ---- files and users ---- */

char *bases_path(const char *path, struct err *err)
{
	AUTO_FREE char *cwd = path[0] == '/' ? strdup("") : getcwd(NULL, 0);
	AUTO_FREE char *full = NULL;

	if (!path[0] || !text_is_plain(path)) {
		err_set(err, -EINVAL, "the path of a base must be printable UTF-8");
		return NULL;
	}
	while (!strncmp(path, "./", 2))
		path += 2;
	if (!cwd || asprintf(&full, "%s%s%s", cwd, *cwd ? "/" : "", path) < 0) {
		full = NULL;
		err_sys(err, cwd ? -ENOMEM : -errno, "%s", path);
		return NULL;
	}
	if (strlen(full) < STORE_PATH_MAX)
		return steal_ptr(&full);
	err_sys(err, -ENAMETOOLONG, "%s", path);
	return NULL;
}

int bases_not_found(const char *path, struct err *err)
{
	err_set(err, -ENOENT, "%s: no clone needs it, as far as this host's stores say", path);
	err_hint(err, "see what they need: lazyclone base list");
	return -ENOENT;
}

static bool same_file(const char *a, const struct stat *st)
{
	struct stat other;

	if (stat(a, &other) < 0)
		return false;
	if (S_ISBLK(st->st_mode))
		return S_ISBLK(other.st_mode) && other.st_rdev == st->st_rdev;
	return other.st_ino == st->st_ino && other.st_dev == st->st_dev;
}

int bases_file_of(const struct bases_entry *entry, const char *path)
{
	struct stat st;

	for (uint32_t i = 0; i < entry->n_files; i++)
		if (!strcmp(entry->files[i].path, path))
			return (int)i;
	if (stat(path, &st) < 0)
		return -1;
	for (uint32_t i = 0; i < entry->n_files; i++)
		if (same_file(entry->files[i].path, &st))
			return (int)i;
	return -1;
}

/* Is it the same clone as the user before it? */
static bool same_clone(const struct bases_entry *entry, uint32_t i)
{
	return i > 0 && entry->users[i - 1].store == entry->users[i].store &&
		!strcmp(entry->users[i - 1].clone, entry->users[i].clone);
}

char *bases_users_text(const struct bases *bases, const struct bases_entry *entry)
{
	uint32_t count = 0;
	char *text = NULL;

	for (uint32_t i = 0; i < entry->n_users; i++) {
		const struct bases_user *user = &entry->users[i];
		char *longer;

		if (same_clone(entry, i) || ++count > USERS_SHOWN)
			continue;
		if (asprintf(&longer, "%s%s%s (%s)", text ? text : "", text ? ", " : "",
			    user->clone, bases->stores[user->store].path) < 0)
			longer = NULL;
		free(text);
		text = longer;
		if (!text)
			return NULL;
	}
	if (text && count > USERS_SHOWN) {
		char *longer;

		if (asprintf(&longer, "%s and %u more", text, count - USERS_SHOWN) < 0)
			longer = NULL;
		free(text);
		text = longer;
	}
	return text ? text : strdup("nobody");
}

/* ---- state ---- */

static const char *const states[] = {
	"unknown", "ready", "suspended", "moved", "failed", "changed", "missing"};

#define COUNT(array) ((unsigned int)(sizeof(array) / sizeof((array)[0])))

static unsigned int rank_of(const char *state)
{
	unsigned int i = COUNT(states) - 1;

	while (state && i > 0 && strcmp(states[i], state) != 0)
		i--;
	return state ? i : 0;
}

/* What the daemon of the user's store says. */
static const char *user_state(const struct bases *bases, const struct bases_user *user)
{
	const json_t *shown = json_object_get(bases->stores[user->store].shown, user->clone);
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(shown, "disks"), i, disk) {
		const char *target = json_string_value(json_object_get(disk, "target"));

		if (target && !strcmp(target, user->target))
			return json_string_value(json_object_get(disk, "base_state"));
	}
	return NULL;
}

static bool any_missing(const struct bases_entry *entry)
{
	struct stat st;

	for (uint32_t i = 0; i < entry->n_files; i++)
		if (stat(entry->files[i].path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
			return true;
	return false;
}

const char *bases_state(const struct bases *bases, const struct bases_entry *entry)
{
	unsigned int worst = 0;

	for (uint32_t i = 0; i < entry->n_users; i++) {
		unsigned int rank = rank_of(user_state(bases, &entry->users[i]));

		worst = rank > worst ? rank : worst;
	}
	/* Held by a daemon it is "moved": its clones go on, for the time being. */
	if (worst != rank_of("moved") && any_missing(entry))
		return "missing";
	return states[worst];
}
