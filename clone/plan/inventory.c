/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What there is: see inventory.h. */
#include "clone/plan/inventory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clone/plan/chain.h"
#include "clone/plan/family.h"
#include "clone/plan/view.h"
#include "clone/state/record.h"
#include "clone/xml/domain.h"
#include "fs/store/copies.h"
#include "fs/util/cleanup.h"

#define HINT_MAX ERR_HINT_MAX
#define LOG_SUFFIX ".log"
#define STAT_BLOCK 512

/* A message that was cut within a character is no JSON text. */
static json_t *text_or_null(const char *text)
{
	json_t *string;

	if (!text)
		return json_null();
	string = json_string(text);
	return string ? string : json_string("(not text)");
}

static json_t *message_or_null(const struct err *err)
{
	return text_or_null(err->code ? err->message : NULL);
}

/* ---- disks ---- */

/* What the log takes, seen from outside: for when no daemon says. */
static uint64_t log_bytes(int dirfd, const struct id *log)
{
	char name[ID_TEXT + sizeof(LOG_SUFFIX)];
	struct stat st;

	id_format(log, name);
	strcat(name, LOG_SUFFIX);
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return 0;
	return (uint64_t)st.st_blocks * STAT_BLOCK;
}

static json_t *disk_object(const struct view *view, const struct manifest *m,
	const struct store_disk *disk, int dirfd)
{
	const json_t *served = view_disk(view, m->name, disk->target);
	AUTO_FREE char *path = NULL;
	json_int_t delta;
	struct id copy;

	if (asprintf(&path, "%s/%s/%s" STORE_DISK_SUFFIX, view->mountpoint, m->name,
		disk->target) < 0)
		return NULL;
	delta = served ? json_integer_value(json_object_get(served, "log_bytes"))
		       : (json_int_t)log_bytes(dirfd, &disk->log);
	return json_pack("{s:o, s:o, s:o, s:b, s:o, s:I, s:I, s:i, s:b, s:o}", "target",
		text_or_null(disk->target), "path", text_or_null(path), "base",
		text_or_null(disk->base_path), "reflinked",
		disk->base_path && store_copy_of(disk->base_path, &copy), "images",
		chain_images(disk->base_path, disk->base_identity), "size_bytes",
		(json_int_t)disk->size_bytes,
		"delta_bytes", delta, "depth", (int)disk->n_layers, "open",
		json_integer_value(json_object_get(served, "opens")) > 0, "error",
		text_or_null(json_string_value(json_object_get(served, "error"))));
}

static json_int_t sum_of(const json_t *disks, const char *key)
{
	json_int_t sum = 0;
	const json_t *disk;
	size_t i;

	json_array_foreach(disks, i, disk)
		sum += json_integer_value(json_object_get(disk, key));
	return sum;
}

static int set_disks(json_t *clone, const struct view *view, const struct manifest *m, int dirfd)
{
	json_t *disks = json_array();
	int rc = 0;

	for (uint32_t i = 0; !rc && i < m->n_disks; i++)
		rc = json_array_append_new(disks, disk_object(view, m, &m->disks[i], dirfd));
	rc |= json_object_set_new(clone, "size_bytes", json_integer(sum_of(disks, "size_bytes")));
	rc |= json_object_set_new(clone, "delta_bytes",
		json_integer(sum_of(disks, "delta_bytes")));
	rc |= json_object_set_new(clone, "disks", disks);
	return rc ? -ENOMEM : 0;
}

/* ---- state ---- */

static const char *phase_name(enum record_phase phase)
{
	switch (phase) {
	case RECORD_CLONE:
		return NULL;
	case RECORD_COPYING:
		return "copying";
	case RECORD_COPIED:
		return "copied";
	case RECORD_DEFINED:
		return "defined";
	}
	return NULL;
}

/* Is it the domain that we defined? Once hydrate has defined it on full
 * images our mark is gone from it, and the UUID is what is left to go by. */
static bool is_ours(const struct virt_domain *domain, const struct record *record)
{
	struct xml_provenance mark;
	bool ours;

	if (record->phase == RECORD_DEFINED)
		return true;
	if (xml_provenance(domain->xml, &mark) != 1)
		return false;
	ours = mark.uuid && !strcmp(mark.uuid, record->uuid);
	xml_provenance_clear(&mark);
	return ours;
}

static const char *state_of(const struct view *view, const struct record *record,
	const struct virt_domain *domain, const struct disk_user *user)
{
	if (user && view_user_hangs(view, user))
		return "hangs";
	if (!record->uuid)
		return "disk only";
	if (!view->virt || !record->uri || strcmp(record->uri, virt_uri(view->virt)))
		return "unknown";
	if (!domain)
		return "no domain";
	if (!is_ours(domain, record))
		return "foreign";
	return domain->active ? "running" : "shut off";
}

/* The way out of a state that is not well. */
static json_t *hint_for(const char *state, const char *name, const struct disk_user *user)
{
	if (!strcmp(state, "hangs"))
		return json_sprintf("%s lost its disks when the daemon stopped: virsh destroy %s; "
			"virsh start %s", user->domain, user->domain, user->domain);
	if (!strcmp(state, "no domain"))
		return json_sprintf("its domain was undefined: 'lazyclone rm %s' removes the disks",
			name);
	if (!strcmp(state, "foreign"))
		return json_sprintf("the domain with the UUID of %s is not what lazyclone defined",
			name);
	return json_null();
}

static int set_record(json_t *clone, const struct view *view, const char *name,
	const struct record *record)
{
	const struct virt_domain *domain = NULL;
	const struct disk_user *user = view_user(view, name);
	const char *domain_name = user ? user->domain : NULL;
	const char *state;
	int rc = 0;

	if (record->uuid)
		domain = view_domain(view, record->uuid);
	if (domain)
		domain_name = domain->name;
	state = state_of(view, record, domain, user);
	rc |= json_object_set_new(clone, "uuid", text_or_null(record->uuid));
	rc |= json_object_set_new(clone, "uri", text_or_null(record->uri));
	rc |= json_object_set_new(clone, "source", text_or_null(record->source_name));
	rc |= json_object_set_new(clone, "domain", text_or_null(domain_name));
	rc |= json_object_set_new(clone, "state", json_string(state));
	rc |= json_object_set_new(clone, "frozen", json_boolean(record->frozen));
	rc |= json_object_set_new(clone, "hydrate", text_or_null(phase_name(record->phase)));
	rc |= json_object_set_new(clone, "hint", hint_for(state, name, user));
	return rc ? -ENOMEM : 0;
}

static int set_damage(json_t *clone, const struct err *why)
{
	int rc = json_object_set_new(clone, "state", json_string("damaged"));

	rc |= json_object_set_new(clone, "error", message_or_null(why));
	return rc ? -ENOMEM : 0;
}

/* Of its manifest the store's own checker knows more. */
static int set_manifest_damage(json_t *clone, const struct view *view, const char *name,
	const struct err *why)
{
	int rc = set_damage(clone, why);
	json_t *hint = json_sprintf("see what can be saved of %s: lazyclone umount; "
		"lazyclone-fsck %s %s", name, store_path(view->store), name);

	return rc || json_object_set_new(clone, "hint", hint) ? -ENOMEM : 0;
}

/* ---- clones ---- */

static json_t *empty_clone(const char *name)
{
	return json_pack("{s:o, s:n, s:i, s:n, s:n, s:n, s:n, s:s, s:b, s:n, s:i, s:i, s:i, s:i, s:[], "
			 "s:n, s:n, s:[]}",
		"name", text_or_null(name), "id", "created", 0, "uuid", "uri", "source", "domain",
		"state", "unknown", "frozen", false, "hydrate", "size_bytes", 0, "delta_bytes", 0, "quota_bytes", 0,
		"depth", 0, "snapshots", "error", "hint", "disks");
}

static json_t *snapshots_array(const struct manifest *m)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < m->n_snapshots; i++)
		json_array_append_new(array, json_pack("{s:o, s:I}", "name",
			text_or_null(m->snapshots[i].name), "created",
			(json_int_t)m->snapshots[i].created_sec));
	return array;
}

static uint32_t depth_of(const struct manifest *m)
{
	uint32_t depth = 0;

	for (uint32_t i = 0; i < m->n_disks; i++)
		if (m->disks[i].n_layers > depth)
			depth = m->disks[i].n_layers;
	return depth;
}

static int set_manifest(json_t *clone, const struct manifest *m)
{
	char id[ID_TEXT];
	int rc;

	id_format(&m->id, id);
	rc = json_object_set_new(clone, "id", json_string(id));
	rc |= json_object_set_new(clone, "created", json_integer(m->created_sec));
	rc |= json_object_set_new(
		clone, "quota_bytes", json_integer((json_int_t)m->quota_bytes));
	rc |= json_object_set_new(clone, "depth", json_integer(depth_of(m)));
	rc |= json_object_set_new(clone, "snapshots", snapshots_array(m));
	return rc ? -ENOMEM : 0;
}

static int fill_clone(json_t *clone, const struct view *view, const struct manifest *m)
{
	AUTO_CLOSE int dirfd = store_clone_dirfd(view->store, m->name);
	struct record *record = NULL;
	struct err why = {.code = 0};
	int rc;

	if (dirfd < 0)
		return dirfd;
	rc = set_manifest(clone, m);
	if (!rc)
		rc = set_disks(clone, view, m, dirfd);
	if (rc)
		return rc;
	if (record_read(dirfd, &record, &why))
		return set_damage(clone, &why);
	rc = set_record(clone, view, m->name, record);
	record_free(record);
	return rc;
}

/* -ENOENT: it went away, or never was. */
static int clone_object(const struct view *view, const char *name, json_t **ret_clone)
{
	struct manifest *m;
	struct err why = {.code = 0};
	json_t *clone;
	int rc;

	rc = store_manifest_read(view->store, name, &m, &why);
	if (rc == -ENOENT)
		return rc;
	clone = empty_clone(name);
	if (rc) {
		rc = set_manifest_damage(clone, view, name, &why);
	} else {
		rc = fill_clone(clone, view, m);
		manifest_free(m);
	}
	if (rc)
		json_decref(clone);
	else
		*ret_clone = clone;
	return rc;
}

static int list_clones(const struct view *view, json_t **ret_clones, struct err *err)
{
	json_t *clones = json_array();
	char **names = NULL;
	uint32_t count = 0;
	int rc = 0;

	if (view->store)
		rc = store_list(view->store, &names, &count, err);
	for (uint32_t i = 0; !rc && i < count; i++) {
		json_t *clone;

		rc = clone_object(view, names[i], &clone);
		if (!rc)
			rc = json_array_append_new(clones, clone) ? -ENOMEM : 0;
		else if (rc == -ENOENT)
			rc = 0; /* removed while we looked */
		if (rc)
			err_sys(err, rc, "looking at clone %s", names[i]);
	}
	store_names_free(names, count);
	if (rc)
		json_decref(clones);
	else
		*ret_clones = clones;
	return rc;
}

int inventory_list(struct session *session, json_t **ret_clones, struct err *err)
{
	struct view view;
	int rc = view_load(session, &view, err);

	if (rc)
		return rc;
	rc = list_clones(&view, ret_clones, err);
	view_clear(&view);
	return rc;
}

static bool is_called(const json_t *clone, const char *name)
{
	static const char *const keys[] = {"name", "domain", "uuid"};

	for (unsigned int i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		const char *text = json_string_value(json_object_get(clone, keys[i]));

		if (text && !strcmp(text, name))
			return true;
	}
	return false;
}

/* By what its domain is called now. */
static int find_by_domain(const struct view *view, const char *name, json_t **ret_clone,
	struct err *err)
{
	json_t *clones;
	json_t *clone;
	size_t i;
	int rc = list_clones(view, &clones, err);

	if (rc)
		return rc;
	rc = -ENOENT;
	json_array_foreach(clones, i, clone) {
		if (rc && is_called(clone, name)) {
			*ret_clone = json_incref(clone);
			rc = 0;
		}
	}
	json_decref(clones);
	return rc;
}

int inventory_info(struct session *session, const char *clone, json_t **ret_clone,
	struct err *err)
{
	struct view view;
	int rc = view_load(session, &view, err);

	if (rc)
		return rc;
	rc = -ENOENT;
	if (view.store && store_name_valid(clone))
		rc = clone_object(&view, clone, ret_clone);
	if (rc == -ENOENT)
		rc = find_by_domain(&view, clone, ret_clone, err);
	if (rc == 0)
		rc = family_add_layers(view.store, *ret_clone);
	if (rc == -ENOENT) {
		err_set(err, rc, "clone %s: not found in %s", clone, session_store_path(session));
		err_hint(err, "lazyclone list");
	} else if (rc) {
		err_sys(err, rc, "clone %s", clone);
	}
	view_clear(&view);
	return rc;
}

/* ---- status ---- */

static const char *mount_name(enum mount_state state)
{
	switch (state) {
	case MOUNT_NONE:
		return "not mounted";
	case MOUNT_ALIVE:
		return "mounted";
	case MOUNT_DEAD:
		return "dead";
	case MOUNT_HUNG:
		return "hung";
	case MOUNT_OTHER:
		return "other";
	}
	return "other";
}

/* Names of the domains that hang, each once: a domain's disks stand together. */
static json_t *hanging_array(const struct view *view)
{
	json_t *names = json_array();
	const char *last = "";

	for (uint32_t i = 0; i < view->n_users; i++) {
		const struct disk_user *user = &view->users[i];

		if (!strcmp(user->domain, last) || !view_user_hangs(view, user))
			continue;
		json_array_append_new(names, text_or_null(user->domain));
		last = user->domain;
	}
	return names;
}

static json_t *status_hint(const struct view *view, const json_t *hanging)
{
	const char *first = json_string_value(json_array_get(hanging, 0));

	if (first && view->mount == MOUNT_ALIVE)
		return json_sprintf("guests that hang: virsh destroy %s; virsh start %s", first,
			first);
	if (first)
		return json_sprintf("lazyclone mount; then, for guests that hang: "
			"virsh destroy %s; virsh start %s", first, first);
	if (view->mount == MOUNT_DEAD)
		return json_string("lazyclone mount");
	if (view->mount == MOUNT_HUNG)
		return json_string("end the daemon that hangs (pgrep -a lazyclonefs), then: "
			"lazyclone mount");
	return json_null();
}

static json_t *status_object(struct session *session, const struct view *view)
{
	json_t *hanging = hanging_array(view);
	json_t *hint = status_hint(view, hanging);
	json_t *daemon = view->daemon ? json_incref(view->daemon) : json_null();

	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "mount",
		mount_name(view->mount), "mountpoint", text_or_null(view->mountpoint), "store",
		text_or_null(session_store_path(session)), "daemon", daemon, "daemon_error",
		message_or_null(&view->daemon_err), "libvirt",
		text_or_null(view->virt ? virt_uri(view->virt) : NULL), "libvirt_error",
		message_or_null(&view->virt_err), "hanging", hanging, "hint", hint);
}

int inventory_status(struct session *session, json_t **ret_status, struct err *err)
{
	struct view view;
	int rc = view_load(session, &view, err);

	if (rc)
		return rc;
	*ret_status = status_object(session, &view);
	view_clear(&view);
	return *ret_status ? 0 : err_sys(err, -ENOMEM, "making the status");
}
