/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs `mount` and `umount`: the daemon comes and goes. */
#include <stdio.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/service.h"
#include "clone/plan/session.h"
#include "fs/util/cleanup.h"

static int run_mount(struct cmd *cmd, struct err *err)
{
	AUTO_FREE char *mountpoint = NULL;
	struct session *session;
	int rc;

	rc = cmd_session(cmd, &session, err);
	if (!rc)
		rc = service_mount(session, cmd->n_words ? cmd->words[0] : NULL, err);
	if (!rc)
		rc = service_where(session, &mountpoint, err);
	if (rc)
		return rc;
	if (cmd->args.json)
		output_json(json_pack("{s:o, s:o}", "store",
			output_text(session_store_path(session)), "mountpoint",
			output_text(mountpoint)));
	else
		printf("%s on %s\n", session_store_path(session), mountpoint);
	return 0;
}

static int run_umount(struct cmd *cmd, struct err *err)
{
	struct session *session;
	int rc;

	rc = cmd_session(cmd, &session, err);
	if (!rc)
		rc = service_umount(session, err);
	if (rc)
		return rc;
	if (cmd->args.json)
		output_json(json_pack("{s:o, s:n}", "store",
			output_text(session_store_path(session)), "mountpoint"));
	return 0;
}

const struct verb verb_mount = {
	.name = "mount",
	.summary = "start the daemon that shows the clones' disks",
	.usage = (const char *const[]){"[MOUNTPOINT]", NULL},
	.detail = (const char *const[]){
		"Prints the store and where it is mounted. Does nothing if it is mounted already.",
		"A MOUNTPOINT given once is remembered. `clone` mounts by itself; guests that",
		"start at boot need the mount before libvirt: see lazyclone.service.",
		NULL},
	.options = no_options,
	.max_words = 1,
	.run = run_mount,
};

const struct verb verb_umount = {
	.name = "umount",
	.summary = "stop the daemon; refused while a running domain uses a disk",
	.usage = (const char *const[]){"", NULL},
	.options = no_options,
	.run = run_umount,
};
