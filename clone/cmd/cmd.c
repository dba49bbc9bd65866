/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The run of the program: options, verb, session, and the one place where errors are printed. */
#include "clone/cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clone/cmd/help.h"
#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/session.h"

#define ARG(member) offsetof(struct args, member)

const struct cli_option no_options[] = {{.name = NULL}};

const struct cli_option global_options[] = {
	{'c', "connect", "URI", "libvirt connection (otherwise as virsh chooses)", ARG(connect)},
	{0, "store", "DIR", "the store (otherwise $LAZYCLONE_STORE, or the usual one)", ARG(store)},
	{'q', "quiet", NULL, "no notices, no progress", ARG(quiet)},
	{'v', "verbose", NULL, "say more", ARG(verbose)},
	{0, "json", NULL, "results, and errors, as JSON", ARG(json)},
	{0, "help", NULL, "help", ARG(help)},
	{0, "version", NULL, "print the version", ARG(version)},
	{.name = NULL},
};

const struct verb *const verbs[] = {
	&verb_clone, &verb_list, &verb_info, &verb_snapshot, &verb_reset, &verb_rm, &verb_hydrate,
	&verb_quota, &verb_check, &verb_base, &verb_mount, &verb_umount, &verb_status, &verb_doctor,
	&verb_version, &verb_help, NULL,
};

const struct verb *verb_find(const struct verb *noun, const char *name)
{
	size_t skip = noun ? strlen(noun->name) + 1 : 0;

	for (const struct verb *const *v = noun ? noun->verbs : verbs; *v; v++)
		if (!strcmp((*v)->name + skip, name))
			return *v;
	return NULL;
}

static void notice(void *ctx, const char *text)
{
	struct cmd *cmd = ctx;

	if (!cmd->args.quiet)
		output_notice(text);
}

int cmd_session(struct cmd *cmd, struct session **ret_session, struct err *err)
{
	struct session_options options = {
		.uri = cmd->args.connect,
		.store = cmd->args.store,
		.quiet = cmd->args.quiet,
		.notice = notice,
		.notice_ctx = cmd,
	};
	int rc = 0;

	if (!cmd->session)
		rc = session_open(&options, &cmd->session, err);
	if (!rc)
		*ret_session = cmd->session;
	return rc;
}

/* Wrong usage is answered by one line and where to read on. */
int cmd_usage(const struct cmd *cmd, int code, struct err *err)
{
	if (!cmd->verb) {
		err_hint(err, "try 'lazyclone --help'");
		return code;
	}
	err_prefix(err, "%s", cmd->verb->name);
	err_hint(err, "try 'lazyclone %s --help'", cmd->verb->name);
	return code;
}

static int check_words(const struct cmd *cmd, struct err *err)
{
	const struct verb *verb = cmd->verb;

	if (cmd->n_words < verb->min_words)
		return cmd_usage(cmd, err_set(err, -EINVAL, "%s is missing", verb->missing), err);
	if (cmd->n_words > verb->max_words)
		return cmd_usage(cmd, err_set(err, -EINVAL, "one argument too many: '%s'",
			cmd->words[verb->max_words]), err);
	return 0;
}

/* The options up to the next word; that word names a verb (of the noun that
 * is known already), and the cmd's words are what follows it. */
static int parse_verb(struct cmd *cmd, int argc, char **argv, struct err *err)
{
	const struct cli_option *tables[] = {global_options, NULL};
	const struct verb *verb;
	int rc = cli_parse(tables, &cmd->args, true, argc, argv, &cmd->n_words, err);

	if (rc)
		return cmd_usage(cmd, rc, err);
	if (!cmd->n_words)
		return 0;
	verb = verb_find(cmd->verb, argv[0]);
	if (!verb)
		return cmd_usage(cmd, err_set(err, -EINVAL, "unknown verb '%s'", argv[0]), err);
	cmd->verb = verb;
	cmd->words = argv + 1;
	cmd->n_words--;
	return verb->verbs ? parse_verb(cmd, cmd->n_words, cmd->words, err) : 0;
}

/* The verb and all options of either side of it. */
static int parse(struct cmd *cmd, int argc, char **argv, struct err *err)
{
	const struct cli_option *tables[] = {global_options, NULL, NULL};
	int rc = parse_verb(cmd, argc - 1, argv + 1, err);

	if (rc || !cmd->verb || cmd->verb->verbs)
		return rc;
	tables[1] = cmd->verb->options;
	rc = cli_parse(tables, &cmd->args, false, cmd->n_words, cmd->words, &cmd->n_words, err);
	return rc ? cmd_usage(cmd, rc, err) : 0;
}

static int run(struct cmd *cmd, struct err *err)
{
	int rc;

	if (cmd->args.version)
		return verb_version.run(cmd, err);
	if (!cmd->verb && cmd->args.help) {
		help_overview(stdout);
		return 0;
	}
	if (!cmd->verb)
		return cmd_usage(cmd, err_set(err, -EINVAL, "no verb given"), err);
	if (cmd->args.help) {
		help_verb(stdout, cmd->verb);
		return 0;
	}
	if (cmd->verb->verbs)
		return cmd_usage(cmd, err_set(err, -EINVAL, "no verb given"), err);
	rc = check_words(cmd, err);
	return rc ? rc : cmd->verb->run(cmd, err);
}

/* A result that could not be written was not given. */
static int finish_output(struct err *err)
{
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	return err_sys(err, errno ? -errno : -EIO, "writing the result");
}

static int exit_status(const struct cmd *cmd, int rc)
{
	if (!rc)
		return cmd->status;
	return cmd->verb && cmd->verb->status_of ? cmd->verb->status_of(rc)
						 : (int)err_exit_status(rc);
}

int cmd_run(int argc, char **argv)
{
	struct cmd cmd = {.verb = NULL};
	struct err err = {.code = 0};
	int rc;

	rc = parse(&cmd, argc, argv, &err);
	if (!rc)
		rc = run(&cmd, &err);
	session_close(cmd.session);
	if (!rc)
		rc = finish_output(&err);
	else
		fflush(stdout);
	if (rc)
		output_error(&err, cmd.args.json);
	return exit_status(&cmd, rc);
}
