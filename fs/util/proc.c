/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Child processes: see proc.h. */
#include "fs/util/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/clock.h"

#define STATUS_NOT_RUN 127
#define SIGNAL_STATUS 128

static int remaining_ms(int64_t deadline_ms)
{
	int64_t left = deadline_ms - clock_now_ms();

	return left > 0 ? (int)left : 0;
}

static int open_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

/* The signals of a fresh process: a caller's handlers and mask are not its business. */
static void reset_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	sigemptyset(&action.sa_mask);
	for (int s = 1; s < NSIG; s++)
		sigaction(s, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static __attribute__((noreturn)) void run_child(const char *const argv[], int errfd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	reset_signals();
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
		dup2(errfd, STDERR_FILENO) < 0)
		_exit(STATUS_NOT_RUN);
	execvp(argv[0], (char *const *)argv);
	_exit(STATUS_NOT_RUN);
}

/* Take what is there; what does not fit is read and dropped, so that the
 * writer never waits for us. False at the end. */
static bool drain(int fd, char *said, size_t *len)
{
	char scrap[512];
	ssize_t n;

	while ((n = read(fd, scrap, sizeof(scrap))) > 0) {
		size_t room = PROC_STDERR_MAX - 1 - *len;
		size_t take = (size_t)n < room ? (size_t)n : room;

		memcpy(said + *len, scrap, take);
		*len += take;
	}
	said[*len] = '\0';
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Until the process has exited, or the deadline. */
static int follow(int pidfd, int errfd, int64_t deadline_ms, char *said)
{
	struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = errfd, .events = POLLIN}};
	size_t len = 0;

	said[0] = '\0';
	for (;;) {
		int n = poll(fds, 2, remaining_ms(deadline_ms));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ETIMEDOUT;
		if (n > 0 && fds[1].fd >= 0 && fds[1].revents && !drain(errfd, said, &len))
			fds[1].fd = -1;
		if (n > 0 && fds[0].revents) {
			drain(errfd, said, &len);
			return 0;
		}
	}
}

static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : SIGNAL_STATUS + WTERMSIG(status);
}

int proc_run(const char *const argv[], int timeout_ms, int *ret_status,
	char said[static PROC_STDERR_MAX], struct err *err)
{
	int64_t deadline_ms = clock_now_ms() + timeout_ms;
	AUTO_CLOSE int readfd = -1;
	AUTO_CLOSE int writefd = -1;
	AUTO_CLOSE int pidfd = -1;
	int pipefd[2];
	pid_t pid;
	int rc;

	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return err_sys(err, -errno, "running %s", argv[0]);
	readfd = pipefd[0];
	writefd = pipefd[1];
	fcntl(readfd, F_SETFL, O_NONBLOCK);
	pid = fork();
	if (pid < 0)
		return err_sys(err, -errno, "running %s", argv[0]);
	if (!pid)
		run_child(argv, writefd);
	close_fd(&writefd);
	pidfd = open_pidfd(pid);
	rc = pidfd < 0 ? pidfd : follow(pidfd, readfd, deadline_ms, said);
	if (rc)
		kill(pid, SIGKILL);
	*ret_status = reap(pid);
	if (!rc && *ret_status == STATUS_NOT_RUN)
		rc = -ENOENT;
	return rc ? err_sys(err, rc, "running %s", argv[0]) : 0;
}

static int wait_for_exit(pid_t pid, int timeout_ms)
{
	AUTO_CLOSE int pidfd = open_pidfd(pid);
	struct pollfd fd = {.fd = pidfd, .events = POLLIN};
	int64_t deadline_ms = clock_now_ms() + timeout_ms;
	int n;

	if (pidfd < 0)
		return pidfd;
	do
		n = poll(&fd, 1, remaining_ms(deadline_ms));
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return 0;
	return n < 0 ? -errno : -ETIMEDOUT;
}

int proc_try(int (*fn)(const void *ctx), const void *ctx, int timeout_ms)
{
	pid_t pid = fork();
	int rc;

	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(-fn(ctx) & 0xff);
	rc = wait_for_exit(pid, timeout_ms);
	if (rc) {
		/* If it is stuck in the kernel the signal waits as well: do not reap. */
		kill(pid, SIGKILL);
		waitpid(pid, NULL, WNOHANG);
		return rc;
	}
	rc = reap(pid);
	return rc > SIGNAL_STATUS ? -EIO : -rc; /* ended by a signal of somebody else */
}

int proc_become(uid_t uid, gid_t gid)
{
	struct passwd *user;

	if (uid == geteuid())
		return 0;
	user = getpwuid(uid);
	if (user ? initgroups(user->pw_name, gid) : setgroups(0, NULL))
		return -errno;
	if (setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return -errno;
	return 0;
}
