/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lazyclonefs: the daemon that shows clones as raw disk files. */
#include <errno.h>
#include <stdio.h>
#include <sys/vfs.h>
#include <syslog.h>
#include <unistd.h>

#include "fs/daemon/daemon.h"
#include "fs/daemon/options.h"
#include "fs/daemon/process.h"

static int serve(const struct options *options, int ready_fd, struct err *err)
{
	int rc;

	process_harden();
	openlog("lazyclonefs", LOG_PID | (options->foreground ? LOG_PERROR : 0), LOG_DAEMON);
	rc = daemon_run(options, ready_fd, err);
	if (rc < 0)
		syslog(LOG_ERR, "%s", err->message);
	closelog();
	return rc;
}

/* The mount is ready for whoever waits for us when it answers us. */
static int check_answer(const struct options *options, struct err *err)
{
	struct statfs fs;

	if (statfs(options->mountpoint, &fs) < 0)
		return err_sys(err, -errno, "mount point %s", options->mountpoint);
	return 0;
}

static int run(const struct options *options, struct err *err)
{
	int ready_fd = -1;
	bool parent = false;
	int rc;

	process_clean();
	if (options->foreground)
		return serve(options, -1, err);
	rc = process_fork(&ready_fd, &parent, err);
	if (rc < 0)
		return rc;
	if (!parent) {
		rc = serve(options, ready_fd, err);
		/* The starting process prints it. */
		_exit(err_exit_status(rc));
	}
	rc = process_wait_ready(ready_fd, err);
	return rc < 0 ? rc : check_answer(options, err);
}

int main(int argc, char **argv)
{
	struct options options;
	struct err err = {0};
	int rc = options_parse(argc, argv, &options, &err);

	if (rc == 0) {
		switch (options.wanted) {
		case OPTIONS_SERVE:
			rc = run(&options, &err);
			break;
		case OPTIONS_HELP:
			fputs(options_usage, stdout);
			break;
		case OPTIONS_VERSION:
			printf("lazyclonefs %s\n", LAZYCLONE_VERSION);
			break;
		case OPTIONS_NOTHING:
			break;
		}
		options_release(&options);
	}
	if (rc < 0)
		err_print("lazyclonefs", &err);
	return err_exit_status(rc);
}
