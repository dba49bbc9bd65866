/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `base check-start`: what libvirt's hook asks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "clone/cmd/base.h"
#include "clone/plan/startcheck.h"
#include "fs/util/cleanup.h"

#define XML_BYTES_MAX (8u << 20)

static int read_all(char **ret_text, struct err *err)
{
	AUTO_FREE char *text = malloc(XML_BYTES_MAX + 1);
	size_t len = text ? fread(text, 1, XML_BYTES_MAX + 1, stdin) : 0;

	if (!text)
		return err_sys(err, -ENOMEM, "standard input");
	if (ferror(stdin))
		return err_sys(err, -EIO, "standard input");
	if (len > XML_BYTES_MAX)
		return err_sys(err, -EFBIG, "standard input");
	text[len] = '\0';
	*ret_text = steal_ptr(&text);
	return 0;
}

static int run_check_start(struct cmd *cmd, struct err *err)
{
	AUTO_FREE char *xml = NULL;
	struct session *session;
	int rc = cmd_session(cmd, &session, err);

	if (!rc)
		rc = read_all(&xml, err);
	return rc ? rc : startcheck(session, xml, err);
}

const struct verb verb_base_check_start = {
	.name = "base check-start",
	.summary = "may the domain whose XML is on standard input start?",
	.usage = (const char *const[]){"", NULL},
	.detail = (const char *const[]){
		"For libvirt's hook. Refused (exit 4), with the list, if a disk that it would write is",
		"what clones of this host's stores read. libvirt is not asked.",
		NULL},
	.options = no_options,
	.run = run_check_start,
};
