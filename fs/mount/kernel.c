/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounting and unmounting: see kernel.h.
 *
 * Not by libfuse's fuse_session_mount(): it prints its errors where nobody
 * reads them, and a session of ours takes its descriptor through the channel.
 */
#include "fs/mount/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/disk/disk.h"
#include "fs/util/cleanup.h"
#include "fs/util/proc.h"

#define HELPER "fusermount3"
#define HELPER_FD 3 /* where the helper finds its end of the socket */
#define OPTIONS_MAX 8192
#define HELPER_TIMEOUT_MS 10000

extern char **environ;

static int mount_as_root(const char *path, const char *source, bool allow_other, int *ret_fd,
	struct err *err)
{
	AUTO_CLOSE int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[256];

	if (fd < 0) {
		int rc = err_sys(err, -errno, "/dev/fuse");

		err_hint(err, "modprobe fuse");
		return rc;
	}
	snprintf(options, sizeof(options),
		"fd=%d,rootmode=%o,user_id=%u,group_id=%u,default_permissions,max_read=%u%s", fd,
		S_IFDIR, geteuid(), getegid(), DISK_IO_MAX, allow_other ? ",allow_other" : "");
	if (mount(source, path, KERNEL_FSTYPE, MS_NOSUID | MS_NODEV, options) < 0)
		return err_sys(err, -errno, "mounting at %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* Append text with commas and backslashes escaped, as the helper wants it. */
static int append_escaped(char *options, const char *text)
{
	size_t n = strlen(options);

	for (; *text; text++) {
		if (n + 3 > OPTIONS_MAX)
			return -ENAMETOOLONG;
		if (*text == ',' || *text == '\\')
			options[n++] = '\\';
		options[n++] = *text;
	}
	options[n] = '\0';
	return 0;
}

/* Take the descriptor the helper sends. -ECONNRESET: it sent none. */
static int receive_fd(int sock)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *cmsg;
	ssize_t n;
	int fd;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (n == 0 || !cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return -ECONNRESET;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static int spawn_helper(char *const argv[], int sock, int stderr_fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	char variable[] = "_FUSE_COMMFD=3"; /* HELPER_FD */
	AUTO_FREE char **env = NULL;
	size_t n = 0, out = 0;
	int rc;

	while (environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env)
		return -ENOMEM;
	env[out++] = variable;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "_FUSE_COMMFD=", 13) != 0)
			env[out++] = environ[i];
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, stderr_fd, STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&actions, sock, HELPER_FD);
	rc = posix_spawnp(ret_pid, argv[0], &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

/* What the helper said on stderr, for the message: its first line. */
static void read_said(int fd, char *said, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size - 1 && (n = read(fd, said + used, size - 1 - used)) > 0)
		used += (size_t)n;
	said[used] = '\0';
	said[strcspn(said, "\n")] = '\0';
}

static int run_mount_helper(char *const argv[], int *ret_fd, struct err *err)
{
	AUTO_CLOSE int ours = -1;
	AUTO_CLOSE int theirs = -1;
	AUTO_CLOSE int say_in = -1;
	AUTO_CLOSE int say_out = -1;
	char said[ERR_MESSAGE_MAX / 2];
	int pair[2], pipefd[2];
	int fd, status, rc;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, -errno, HELPER);
	ours = pair[0];
	theirs = pair[1];
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return err_sys(err, -errno, HELPER);
	say_in = pipefd[0];
	say_out = pipefd[1];
	rc = spawn_helper(argv, theirs, say_out, &pid);
	if (rc < 0) {
		rc = err_sys(err, rc, HELPER);
		err_hint(err, "install the package fuse3");
		return rc;
	}
	close_fd(&theirs);
	close_fd(&say_out);
	fd = receive_fd(ours);
	read_said(say_in, said, sizeof(said));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (fd < 0)
		return err_set(err, -EPERM, "mounting: %s", said[0] ? said : strerror(-fd));
	*ret_fd = fd;
	return 0;
}

static int mount_as_user(const char *path, const char *source, bool allow_other, int *ret_fd,
	struct err *err)
{
	AUTO_FREE char *options = malloc(OPTIONS_MAX + 1);
	char *argv[] = {(char[]){HELPER}, (char[]){"-o"}, options, (char[]){"--"},
		(char *)(uintptr_t)path, NULL};
	int rc;

	if (!options)
		return err_sys(err, -ENOMEM, "mounting");
	snprintf(options, OPTIONS_MAX, "rw,nosuid,nodev,default_permissions,max_read=%u%s,"
		"subtype=lazyclone,fsname=", DISK_IO_MAX, allow_other ? ",allow_other" : "");
	rc = append_escaped(options, source);
	if (rc < 0)
		return err_sys(err, rc, "mounting %s", source);
	return run_mount_helper(argv, ret_fd, err);
}

int kernel_mount(const char *path, const char *source, bool allow_other, int *ret_fd,
	struct err *err)
{
	if (geteuid() == 0)
		return mount_as_root(path, source, allow_other, ret_fd, err);
	return mount_as_user(path, source, allow_other, ret_fd, err);
}

static int unmount_as_user(const char *path, bool detach, struct err *err)
{
	char said[PROC_STDERR_MAX];
	const char *argv[] = {HELPER, "-u", detach ? "-z" : "-q", "--", path, NULL};
	int status, rc;

	rc = proc_run(argv, HELPER_TIMEOUT_MS, &status, said, err);
	if (rc == 0 && status != 0)
		rc = err_set(err, -EBUSY, "unmounting %s: %s", path, said[0] ? said
			: "it is in use");
	return rc;
}

int kernel_unmount(const char *path, bool detach, struct err *err)
{
	if (geteuid() != 0)
		return unmount_as_user(path, detach, err);
	if (umount2(path, UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0)) < 0)
		return err_sys(err, -errno, "unmounting %s", path);
	return 0;
}
