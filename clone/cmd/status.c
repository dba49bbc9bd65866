/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `status`: store, daemon, mount, bases, and guests that hang. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/inventory.h"
#include "fs/util/size.h"

static void print_daemon(const json_t *status)
{
	const json_t *daemon = json_object_get(status, "daemon");
	char since[SIZE_TEXT], free_text[SIZE_TEXT], used[SIZE_TEXT];

	if (!json_is_object(daemon)) {
		printf("daemon   %s\n", member_text(status, "daemon_error", "not running"));
		return;
	}
	printf("daemon   pid %" PRIu64 ", version %s, since %s\n", member_number(daemon, "pid"),
		member_text(daemon, "version", "?"),
		date_format((int64_t)member_number(daemon, "started"), since));
	printf("guard    %s\n", member_text(daemon, "guard", "?"));
	printf("space    %s used by clones, %s free\n",
		size_format(member_number(daemon, "store_bytes"), used),
		size_format(member_number(daemon, "store_free_bytes"), free_text));
	printf("clones   %zu\n", json_array_size(json_object_get(daemon, "clones")));
}

static int add_base(struct output_table *table, const json_t *base)
{
	char size[SIZE_TEXT], holds[SIZE_TEXT];
	const char *const cells[] = {
		member_text(base, "state", "?"),
		json_is_true(json_object_get(base, "leased")) ? "locks, lease" : "locks",
		size_format(member_number(base, "size_bytes"), size),
		holds,
		member_text(base, "path", "?"),
	};

	snprintf(holds, sizeof(holds), "%" PRIu64, member_number(base, "holds"));
	return output_table_line(table, cells);
}

static int print_bases(const json_t *bases)
{
	static const struct output_column columns[] = {{"BASE IS", false}, {"HELD BY", false},
		{"SIZE", true}, {"HOLDS", true}, {"PATH", false}, {NULL, false}};

	if (!json_array_size(bases))
		return 0;
	putchar('\n');
	return output_table_of(columns, bases, add_base);
}

/* Disks that the daemon cannot serve. */
static void print_trouble(const json_t *clones)
{
	const json_t *clone;
	const json_t *disk;
	size_t i, k;

	json_array_foreach(clones, i, clone)
		json_array_foreach(json_object_get(clone, "disks"), k, disk)
			if (member_text(disk, "error", NULL))
				printf("trouble  %s %s: %s\n", member_text(clone, "name", "?"),
					member_text(disk, "target", "?"),
					member_text(disk, "error", ""));
}

static int print_status(const json_t *status)
{
	const json_t *daemon = json_object_get(status, "daemon");
	const json_t *name;
	size_t i;
	int rc;

	printf("store    %s\n", member_text(status, "store", "-"));
	printf("mount    %s, %s\n", member_text(status, "mountpoint", "-"),
		member_text(status, "mount", "?"));
	print_daemon(status);
	printf("libvirt  %s\n", member_text(status, "libvirt",
		member_text(status, "libvirt_error", "?")));
	print_trouble(json_object_get(daemon, "clones"));
	json_array_foreach(json_object_get(status, "hanging"), i, name)
		printf("hangs    %s\n", json_string_value(name));
	rc = print_bases(json_object_get(daemon, "bases"));
	if (member_text(status, "hint", NULL))
		printf("\nhint: %s\n", member_text(status, "hint", NULL));
	return rc;
}

static int run_status(struct cmd *cmd, struct err *err)
{
	struct session *session;
	json_t *status = NULL;
	int rc;

	rc = cmd_session(cmd, &session, err);
	if (!rc)
		rc = inventory_status(session, &status, err);
	if (rc)
		return rc;
	if (cmd->args.json) {
		output_json(status);
		return 0;
	}
	rc = print_status(status);
	json_decref(status);
	return rc ? err_sys(err, rc, "printing the table") : 0;
}

const struct verb verb_status = {
	.name = "status",
	.summary = "the store, its daemon and mount, the bases, guests that hang",
	.usage = (const char *const[]){"", NULL},
	.detail = (const char *const[]){
		"Exit status 0 whether the daemon runs or not; --json says which.", NULL},
	.options = no_options,
	.run = run_status,
};
