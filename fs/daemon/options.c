/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's command line: see options.h. */
#include "fs/daemon/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/util/cleanup.h"

#define WORKERS_MAX 16

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

static int set_workers(struct options *options, const char *text, struct err *err)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || n < 1 || n > WORKERS_MAX)
		return err_set(err, -EINVAL, "option workers=%s: not a number from 1 to %d", text,
			WORKERS_MAX);
	options->workers = (unsigned int)n;
	return 0;
}

static int set_option(struct options *options, const char *option, struct err *err)
{
	if (strcmp(option, "allow_other") == 0)
		options->allow_other = true;
	else if (strcmp(option, "force_takeover") == 0)
		options->force_takeover = true;
	else if (strncmp(option, "workers=", 8) == 0)
		return set_workers(options, option + 8, err);
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
	struct options options = {.allow_other = geteuid() == 0};
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
