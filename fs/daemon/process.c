/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon as a process: see process.h. */
#include "fs/daemon/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs/util/cleanup.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* A kill of this process is a power cut for every guest it serves; anything
 * else on the host is better killed first. */
#define OOM_SCORE "-900"

/* What goes through the pipe to the starting process. */
struct report {
	int rc;
	struct err err;
};

void process_clean(void)
{
	sigset_t none;

	close_range(STDERR_FILENO + 1, ~0u, 0);
	/* A standard descriptor that is closed would become one of our files. */
	for (int fd = open("/dev/null", O_RDWR); fd >= 0 && fd <= STDERR_FILENO;)
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	umask(0077);
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void lower_oom_score(void)
{
	AUTO_CLOSE int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, OOM_SCORE, strlen(OOM_SCORE)) < 0)
		return; /* an ordinary user may not */
}

void process_harden(void)
{
	raise_descriptor_limit();
	lower_oom_score();
	/* Threads made from here on inherit it. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

int process_fork(int *ret_ready_fd, bool *ret_parent, struct err *err)
{
	int fd[2];
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return err_sys(err, -errno, "starting the daemon");
	pid = fork();
	if (pid < 0) {
		int rc = err_sys(err, -errno, "starting the daemon");

		close(fd[0]);
		close(fd[1]);
		return rc;
	}
	*ret_parent = pid > 0;
	close(fd[*ret_parent ? 1 : 0]);
	*ret_ready_fd = fd[*ret_parent ? 0 : 1];
	if (!*ret_parent)
		setsid();
	return 0;
}

int process_wait_ready(int ready_fd, struct err *err)
{
	struct report report;
	size_t used = 0;

	while (used < sizeof(report)) {
		ssize_t n = read(ready_fd, (char *)&report + used, sizeof(report) - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(err, -EIO, "the daemon ended before it was ready");
		used += (size_t)n;
	}
	*err = report.err;
	return report.rc;
}

static void leave_terminal(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (chdir("/") < 0)
		return; /* impossible, and without effect */
	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

void process_report(int ready_fd, int rc, const struct err *err)
{
	struct report report = {.rc = rc, .err = *err};

	if (rc == 0)
		process_notify("READY=1");
	if (ready_fd < 0)
		return;
	if (rc == 0)
		leave_terminal();
	/* Less than PIPE_BUF: all or nothing. The reader may have been killed. */
	_Static_assert(sizeof(report) <= 4096, "PIPE_BUF");
	if (write(ready_fd, &report, sizeof(report)) < 0)
		rc = -errno;
	close(ready_fd);
}

void process_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	AUTO_CLOSE int fd = -1;
	size_t len;

	if (!path || (path[0] != '/' && path[0] != '@'))
		return;
	len = strlen(path);
	if (len >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}
