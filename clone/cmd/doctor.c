/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `doctor`: is everything there that a clone needs? */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/service.h"

static void print_check(const struct cmd *cmd, const json_t *check)
{
	const char *status = member_text(check, "status", "?");
	const char *hint = member_text(check, "hint", NULL);

	if (cmd->args.quiet && !strcmp(status, "ok"))
		return;
	printf("%-8s %-11s %s\n", status, member_text(check, "check", "?"),
		member_text(check, "text", ""));
	if (hint)
		printf("%-8s %-11s hint: %s\n", "", "", hint);
}

static int count_failed(const json_t *checks)
{
	const json_t *check;
	int failed = 0;
	size_t i;

	json_array_foreach(checks, i, check)
		failed += !strcmp(member_text(check, "status", ""), "failed");
	return failed;
}

static int run_doctor(struct cmd *cmd, struct err *err)
{
	struct session *session;
	json_t *checks = NULL;
	const json_t *check;
	int failed;
	size_t i;
	int rc;

	rc = cmd_session(cmd, &session, err);
	if (!rc)
		rc = service_doctor(session, &checks, err);
	if (rc)
		return rc;
	failed = count_failed(checks);
	if (cmd->args.json) {
		output_json(checks);
	} else {
		json_array_foreach(checks, i, check)
			print_check(cmd, check);
		json_decref(checks);
	}
	return failed ? err_set(err, -EIO, "doctor: %d %s failed", failed,
		failed == 1 ? "check" : "checks") : 0;
}

const struct verb verb_doctor = {
	.name = "doctor",
	.summary = "check what a clone needs: FUSE, rights, /dev/kvm, space, libvirt, mount",
	.usage = (const char *const[]){"", NULL},
	.detail = (const char *const[]){
		"Exit status 1 if a check failed; a warning is not a failure. --quiet leaves out",
		"what is well.",
		NULL},
	.options = no_options,
	.run = run_doctor,
};
