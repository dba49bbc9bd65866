/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's command line: see options.h. */
#include "fs/daemon/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/cli.h"
#include "fs/util/size.h"

#define WORKERS_MAX 16
#define IDLE_SEC_MAX (UINT64_C(365) * 86400)
#define IDLE_SEC 600
#define MEMORY_BYTES (UINT64_C(1) << 30)
#define MEMORY_BYTES_MAX (UINT64_C(1) << 50)

const char options_usage[] =
	"usage: lazyclonefs STORE MOUNTPOINT [-o OPTION[,OPTION...]] [-f]\n"
	"\n"
	"Serve the clones of STORE as raw disk files CLONE/TARGET.raw at MOUNTPOINT.\n"
	"\n"
	"  -f, --foreground       stay in the foreground\n"
	"  -h, --help             this text\n"
	"  -V, --version          the version\n"
	"  -o allow_other         let other users in (root's mounts always do)\n"
	"  -o force_takeover      open disks that another host's daemon owned\n"
	"  -o quota=SIZE          what all clones may take of the store\n"
	"  -o clone_quota=SIZE    the same for a clone without a quota of its own\n"
	"  -o memory=SIZE         for the indexes of open disks (1G)\n"
	"  -o idle=SECONDS        after which an unused disk is closed (600)\n"
	"  -o clean=on|off        make room in logs in the background (on)\n"
	"  -o clean_rate=SIZE     data that this moves in a second, at most\n"
	"  -o workers=N           threads that serve requests (1 to 16)\n"
	"\n"
	"lazyclonefs(8) says more.\n";

/* What mount(8) and fstab(5) pass on and what is no business of ours, or is
 * always so. */
static const char *const ignored[] = {
	"rw", "defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "group",
	"_netdev", "nofail", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "async", "atime",
	"noatime", "relatime", "norelatime", "strictatime", "nostrictatime", "diratime",
	"nodiratime", "default_permissions", "nonempty",
};

static bool is_ignored(const char *option)
{
	if (strncmp(option, "x-", 2) == 0 || strncmp(option, "comment=", 8) == 0)
		return true;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if (strcmp(option, ignored[i]) == 0)
			return true;
	return false;
}

enum value_kind {
	VALUE_NUMBER, /* unsigned int */
	VALUE_SIZE,   /* uint64_t */
	VALUE_SWITCH, /* bool */
};

/* NAME=VALUE: what it is and where it goes. */
static const struct value_option {
	const char *name;
	enum value_kind kind;
	size_t offset;
	uint64_t min, max;
} value_options[] = {
	{"workers", VALUE_NUMBER, offsetof(struct options, workers), 1, WORKERS_MAX},
	{"idle", VALUE_NUMBER, offsetof(struct options, idle_sec), 1, IDLE_SEC_MAX},
	{"quota", VALUE_SIZE, offsetof(struct options, quota_bytes), 0, INT64_MAX},
	{"clone_quota", VALUE_SIZE, offsetof(struct options, clone_quota_bytes), 0, INT64_MAX},
	{"memory", VALUE_SIZE, offsetof(struct options, memory_bytes), 0, MEMORY_BYTES_MAX},
	{"clean_rate", VALUE_SIZE, offsetof(struct options, clean_rate_bytes), 0, INT64_MAX},
	{"clean", VALUE_SWITCH, offsetof(struct options, clean), 0, 0},
};

static int set_value(const struct value_option *option, const char *text, struct options *options,
	struct err *err)
{
	char *to = (char *)options + option->offset;
	char what[32];
	uint64_t value = 0;
	int rc = 0;

	snprintf(what, sizeof(what), "option %s", option->name);
	switch (option->kind) {
	case VALUE_NUMBER:
		rc = cli_number(what, text, option->min, option->max, &value, err);
		if (rc == 0)
			*(unsigned int *)to = (unsigned int)value;
		break;
	case VALUE_SIZE:
		rc = size_parse(what, text, option->max, (uint64_t *)to, err);
		break;
	case VALUE_SWITCH:
		if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
			return err_set(err, -EINVAL, "%s: '%s' is neither on nor off", what, text);
		*(bool *)to = strcmp(text, "on") == 0;
		break;
	}
	return rc;
}

/* The row for "NAME=...", or NULL. */
static const struct value_option *value_option(const char *option)
{
	size_t len = strcspn(option, "=");

	for (size_t i = 0; i < sizeof(value_options) / sizeof(value_options[0]); i++)
		if (option[len] == '=' && strlen(value_options[i].name) == len &&
			strncmp(option, value_options[i].name, len) == 0)
			return &value_options[i];
	return NULL;
}

static int set_option(struct options *options, const char *option, struct err *err)
{
	const struct value_option *with_value = value_option(option);

	if (with_value)
		return set_value(with_value, strchr(option, '=') + 1, options, err);
	if (strcmp(option, "allow_other") == 0)
		options->allow_other = true;
	else if (strcmp(option, "force_takeover") == 0)
		options->force_takeover = true;
	else if (*option && !is_ignored(option))
		return err_set(err, -EINVAL, "option %s: unknown", option);
	return 0;
}

static int set_options(struct options *options, const char *list, struct err *err)
{
	AUTO_FREE char *copy = strdup(list);
	char *rest = copy;
	char *option;

	if (!copy)
		return err_sys(err, -ENOMEM, "options");
	while ((option = strsep(&rest, ","))) {
		int rc = set_option(options, option, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int set_operand(struct options *options, const char *text, struct err *err)
{
	char **to = !options->store ? &options->store : &options->mountpoint;

	if (*to)
		return err_set(err, -EINVAL, "%s: one argument too many", text);
	*to = strdup(text);
	return *to ? 0 : err_sys(err, -ENOMEM, "options");
}

/* The value of an option letter: the rest of its word or the next word. */
static const char *value_of(int argc, char **argv, int *at, const char *word)
{
	if (word[2])
		return word + 2;
	return *at + 1 < argc ? argv[++*at] : NULL;
}

static bool is_mount_helper(const char *program)
{
	const char *slash = strrchr(program, '/');

	return strncmp(slash ? slash + 1 : program, "mount.", 6) == 0;
}

/* Options as mount(8) calls a helper with: -f pretends there, and -n, -s, -v,
 * -N NAMESPACE and -t TYPE have nothing to say to us. */
static int set_helper_letter(struct options *options, int argc, char **argv, int *at,
	const char *word, struct err *err)
{
	switch (word[1]) {
	case 'f':
		options->wanted = OPTIONS_NOTHING;
		return 0;
	case 'n':
	case 's':
	case 'v':
	case 'r':
	case 'w':
		return 0;
	case 'N':
	case 't':
		if (value_of(argc, argv, at, word))
			return 0;
		break;
	}
	return err_set(err, -EINVAL, "option %s: unknown", word);
}

static int set_word(struct options *options, int argc, char **argv, int *at, struct err *err)
{
	const char *word = argv[*at];

	if (word[0] != '-' || !word[1])
		return set_operand(options, word, err);
	if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
		options->wanted = OPTIONS_HELP;
	else if (strcmp(word, "-V") == 0 || strcmp(word, "--version") == 0)
		options->wanted = OPTIONS_VERSION;
	else if (strcmp(word, "--foreground") == 0)
		options->foreground = true;
	else if (word[1] == 'o') {
		const char *list = value_of(argc, argv, at, word);

		return list ? set_options(options, list, err)
			    : err_set(err, -EINVAL, "option -o: its value is missing");
	} else if (is_mount_helper(argv[0]))
		return set_helper_letter(options, argc, argv, at, word, err);
	else if (strcmp(word, "-f") == 0)
		options->foreground = true;
	else
		return err_set(err, -EINVAL, "option %s: unknown", word);
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret_options, struct err *err)
{
	struct options options = {
		.allow_other = geteuid() == 0,
		.memory_bytes = MEMORY_BYTES,
		.idle_sec = IDLE_SEC,
		.clean = true,
	};
	bool only_operands = false;
	int rc = 0;

	for (int i = 1; rc == 0 && i < argc; i++) {
		if (only_operands)
			rc = set_operand(&options, argv[i], err);
		else if (strcmp(argv[i], "--") == 0)
			only_operands = true;
		else
			rc = set_word(&options, argc, argv, &i, err);
	}
	if (rc == 0 && options.wanted == OPTIONS_SERVE && !options.mountpoint)
		rc = err_set(err, -EINVAL, "a store and a mount point are needed");
	if (rc < 0) {
		options_release(&options);
		err_hint(err, "lazyclonefs --help");
		return rc;
	}
	*ret_options = options;
	return 0;
}

void options_release(struct options *options)
{
	free(options->store);
	free(options->mountpoint);
	options->store = options->mountpoint = NULL;
}
