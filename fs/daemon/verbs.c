/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs of the control socket: see verbs.h. */
#include "fs/daemon/verbs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/base.h"
#include "fs/daemon/changes.h"
#include "fs/daemon/daemon.h"
#include "fs/daemon/status.h"
#include "fs/mount/mountpoint.h"
#include "fs/util/cleanup.h"

/* Bases one connection may hold: a domain has at most STORE_DISKS_MAX disks,
 * and a command makes clones of one domain. */
#define HOLDS_MAX (4 * STORE_DISKS_MAX)

/* What lives as long as a connection. */
struct client {
	struct base *holds[HOLDS_MAX];
	unsigned int n_holds;
};

static void *begin(void *ctx)
{
	return calloc(1, sizeof(struct client));
}

static void end(void *ctx, void *state)
{
	struct client *client = state;

	for (unsigned int i = 0; i < client->n_holds; i++)
		base_release(client->holds[i]);
	free(client);
}

/* A string of the request, or NULL: not there, no string, or longer than max. */
static const char *text_of(const json_t *request, const char *member, size_t max)
{
	const json_t *value = json_object_get(request, member);

	return json_string_length(value) <= max ? json_string_value(value) : NULL;
}

static int missing(const char *verb, const char *member, struct err *err)
{
	return err_set(err, -EINVAL, "control verb %s: \"%s\" is missing or too long", verb,
		member);
}

static int status(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	char id[ID_TEXT];
	json_t *head;
	int rc;

	id_format(store_id(daemon->store), id);
	head = json_pack("{s:s, s:i, s:o, s:s, s:o, s:I, s:s, s:I}",
		"version", LAZYCLONE_VERSION,
		"pid", (int)getpid(),
		"store", ctl_text(store_path(daemon->store)),
		"store_id", id,
		"mountpoint", ctl_text(daemon->point.path),
		"started", (json_int_t)daemon->started_sec,
		"guard", mountpoint_guard_name(daemon->point.guard),
		"memory_bytes", (json_int_t)keeper_memory_bytes(daemon->keeper));
	rc = head ? json_object_update(reply, head) : -1;
	json_decref(head);
	if (rc == 0)
		rc = status_add_table(&daemon->table, daemon->point.path, reply);
	return rc < 0 ? err_sys(err, -ENOMEM, "status") : 0;
}

static int keep_hold(struct client *client, struct base *base, json_t *reply, struct err *err)
{
	struct base_info info;

	base_info(base, &info);
	if (json_object_set_new(reply, "identity", json_string(base_identity(base))) < 0 ||
		json_object_set_new(reply, "size_bytes",
			json_integer((json_int_t)info.size_bytes)) < 0 ||
		json_object_set_new(reply, "holds", json_integer((json_int_t)info.holds)) < 0)
		return err_sys(err, -ENOMEM, "hold");
	client->holds[client->n_holds++] = base;
	return 0;
}

static int check_path(const char *path, struct err *err)
{
	return path && mountpoint_covers(path)
		? err_set(err, -EOPNOTSUPP, "%s: it lies on a lazyclone mount", path) : 0;
}

/* Reads of a base that has a file on our mount would wait for themselves. */
static int check_paths(const struct base_source *source, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < source->n_images; i++) {
		rc = check_path(source->images[i].path, err);
		if (rc == 0)
			rc = check_path(source->images[i].data_path, err);
	}
	return rc;
}

/* What a request wants held; with an identity: as it was recorded. */
static int hold_source(const json_t *request, struct base_source **ret_source,
	const char **ret_path, const char **ret_identity, struct err *err)
{
	const char *text = text_of(request, "source", BASE_SOURCE_MAX);
	const char *path = text_of(request, "path", STORE_PATH_MAX - 1);
	const char *identity = text_of(request, "identity", BASE_IDENTITY_MAX);

	*ret_path = path;
	*ret_identity = text ? NULL : identity;
	if (text)
		return base_source_parse(text, ret_source, err);
	if (!path || path[0] != '/')
		return missing("hold", json_object_get(request, "path") ? "path" : "source", err);
	if (!identity)
		return missing("hold", "identity", err);
	return base_identity_source(path, identity, ret_source, err);
}

static int hold_base(const json_t *request, struct base **ret_base, struct err *err)
{
	const char *path, *identity;
	struct base_source *source;
	int rc = hold_source(request, &source, &path, &identity, err);

	if (rc < 0)
		return rc;
	rc = check_paths(source, err);
	if (rc == 0)
		rc = identity ? base_hold_known(path, identity, ret_base, err)
			      : base_hold(source, ret_base, err);
	base_source_free(source);
	return rc;
}

static int hold(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	struct base *base;
	int rc;

	if (client->n_holds == HOLDS_MAX)
		return err_set(err, -EBUSY, "control connection: it holds %d bases already",
			HOLDS_MAX);
	rc = hold_base(request, &base, err);
	if (rc < 0)
		return rc;
	rc = keep_hold(client, base, reply, err);
	if (rc < 0)
		base_release(base);
	return rc;
}

static int attach(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	const char *clone = text_of(request, "clone", STORE_NAME_MAX);

	if (!clone)
		return missing("attach", "clone", err);
	return table_attach(&daemon->table, clone, true, err);
}

static int detach(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	const char *clone = text_of(request, "clone", STORE_NAME_MAX);
	const json_t *given = json_object_get(request, "id");
	const char *text = text_of(request, "id", ID_TEXT);
	struct id id;

	if (!clone)
		return missing("detach", "clone", err);
	if (!given || json_is_null(given))
		return table_detach(&daemon->table, clone, NULL, err);
	if (!text || id_parse(text, &id) < 0)
		return missing("detach", "id", err);
	return table_detach(&daemon->table, clone, &id, err);
}

/* The clone, and a second text. */
static int clone_and(const json_t *request, const char *verb, const char *member, size_t max,
	const char **ret_clone, const char **ret_text, struct err *err)
{
	*ret_clone = text_of(request, "clone", STORE_NAME_MAX);
	if (!*ret_clone)
		return missing(verb, "clone", err);
	*ret_text = text_of(request, member, max);
	return *ret_text ? 0 : missing(verb, member, err);
}

/* The same when the second one may be left out: then it is NULL. */
static int clone_and_maybe(const json_t *request, const char *verb, const char *member,
	const char **ret_clone, const char **ret_text, struct err *err)
{
	const json_t *given = json_object_get(request, member);

	*ret_text = NULL;
	*ret_clone = text_of(request, "clone", STORE_NAME_MAX);
	if (!*ret_clone)
		return missing(verb, "clone", err);
	if (!given || json_is_null(given))
		return 0;
	return clone_and(request, verb, member, STORE_NAME_MAX, ret_clone, ret_text, err);
}

static int get_number(const json_t *request, const char *verb, const char *member,
	uint64_t *ret_value, struct err *err)
{
	const json_t *value = json_object_get(request, member);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return missing(verb, member, err);
	*ret_value = (uint64_t)json_integer_value(value);
	return 0;
}

static int snapshot(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	const char *clone, *name;
	int rc = clone_and_maybe(request, "snapshot", "name", &clone, &name, err);

	return rc < 0 ? rc : table_snapshot(&daemon->table, clone, name, err);
}

static int reset(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	const char *clone, *to;
	int rc = clone_and_maybe(request, "reset", "to", &clone, &to, err);

	return rc < 0 ? rc : table_reset(&daemon->table, clone, to, err);
}

static int forget(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	const char *clone, *name;
	int rc = clone_and(request, "forget", "name", STORE_NAME_MAX, &clone, &name, err);

	return rc < 0 ? rc : table_forget(&daemon->table, clone, name, err);
}

static int quota(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	const char *clone = text_of(request, "clone", STORE_NAME_MAX);
	uint64_t bytes;
	int rc = clone ? get_number(request, "quota", "bytes", &bytes, err)
		       : missing("quota", "clone", err);

	return rc < 0 ? rc : table_quota(&daemon->table, clone, bytes, err);
}

static int check(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	struct disk_verified verified;
	const char *clone, *target;
	uint64_t from;
	int rc = clone_and(request, "check", "disk", STORE_TARGET_MAX, &clone, &target, err);

	if (rc == 0)
		rc = get_number(request, "check", "from", &from, err);
	if (rc == 0)
		rc = table_check(&daemon->table, clone, target, from, &verified, err);
	if (rc < 0)
		return rc;
	if (json_object_set_new(reply, "next_block", json_integer((json_int_t)verified.next)) < 0 ||
		json_object_set_new(reply, "end_block", json_integer((json_int_t)verified.end)) < 0 ||
		json_object_set_new(reply, "data_blocks",
			json_integer((json_int_t)verified.data_blocks)) < 0 ||
		json_object_set_new(reply, "bad_blocks",
			json_integer((json_int_t)verified.bad_blocks)) < 0)
		return err_sys(err, -ENOMEM, "check");
	return 0;
}

static int relink(struct daemon *daemon, struct client *client, const json_t *request,
	json_t *reply, struct err *err)
{
	const char *path = text_of(request, "path", STORE_PATH_MAX - 1);
	const char *identity = text_of(request, "identity", BASE_IDENTITY_MAX);
	struct base_source *source;
	const char *clone, *target;
	int rc = clone_and(request, "relink", "disk", STORE_TARGET_MAX, &clone, &target, err);

	if (rc < 0)
		return rc;
	if (!path || path[0] != '/')
		return missing("relink", "path", err);
	if (!identity)
		return missing("relink", "identity", err);
	rc = base_identity_source(path, identity, &source, err);
	if (rc < 0)
		return rc;
	rc = check_paths(source, err);
	base_source_free(source);
	return rc < 0 ? rc : table_relink(&daemon->table, clone, target, path, identity, err);
}

static const struct verb {
	const char *name;
	int (*run)(struct daemon *daemon, struct client *client, const json_t *request,
		json_t *reply, struct err *err);
} verbs[] = {
	{"status", status},
	{"hold", hold},
	{"attach", attach},
	{"detach", detach},
	{"snapshot", snapshot},
	{"reset", reset},
	{"forget", forget},
	{"quota", quota},
	{"relink", relink},
	{"check", check},
};

static int run(struct daemon *daemon, struct client *client, const struct verb *verb,
	const json_t *request, json_t *reply, struct err *err)
{
	int rc = -ENOTCONN;

	pthread_rwlock_rdlock(&daemon->admission);
	if (daemon->closed)
		err_set(err, rc, "the daemon is stopping");
	else
		rc = verb->run(daemon, client, request, reply, err);
	pthread_rwlock_unlock(&daemon->admission);
	return rc;
}

static int call(void *ctx, void *state, const char *verb, const json_t *request, json_t *reply,
	struct err *err)
{
	/* Not under the admission lock: it is the one that ends the others. */
	if (strcmp(verb, "stop") == 0)
		return daemon_ask_stop(ctx, err);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(verbs[i].name, verb) == 0)
			return run(ctx, state, &verbs[i], request, reply, err);
	return err_set(err, -EINVAL, "control verb %s: unknown", verb);
}

const struct ctl_ops verbs_ops = {
	.begin = begin,
	.call = call,
	.end = end,
};
