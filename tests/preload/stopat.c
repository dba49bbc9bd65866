/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stops a program at the Nth call that changes something outside it: LD_PRELOAD this.
 *
 * The program under test is the one that users get; nothing in it knows of
 * tests. What counts: creating, naming, removing, writing and syncing files,
 * requests to the daemon (sendmsg), definitions made and removed in libvirt, power
 * off, freezing and thawing a guest.
 *
 *	STOPAT_N     which call, from 1
 *	STOPAT_CALL  count only calls of this name
 *	             (recv, the daemon's answer, counts only so)
 *	STOPAT_NAME  count of the opens only those of a file of this name
 *	STOPAT_DO    kill: die before it (the next one is "after it")
 *	             fail: it is not made and returns EIO, or the error
 *	             numbered STOPAT_ERRNO
 *	             int:  SIGINT arrives just before it
 *	             stop: it waits there until SIGCONT
 *	STOPAT_LOG   this file gets a line when the call was reached
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int calls;

static void say(const char *name)
{
	const char *path = getenv("STOPAT_LOG");
	char line[128];
	int len = snprintf(line, sizeof(line), "%s\n", name);
	int fd;

	if (!path)
		return;
	/* By number: the library's own open() is one of those we stand in for. */
	fd = (int)syscall(SYS_openat, AT_FDCWD, path,
		O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || syscall(SYS_write, fd, line, len) != len)
		abort();
	close(fd);
}

/* 1: this call is to fail. */
static int reached(const char *name)
{
	const char *text = getenv("STOPAT_N");
	const char *what = getenv("STOPAT_DO");
	const char *call = getenv("STOPAT_CALL");

	if (!text || !what || (call && strcmp(call, name) != 0))
		return 0;
	if (atomic_fetch_add(&calls, 1) + 1 != atoi(text))
		return 0;
	say(name);
	if (strcmp(what, "kill") == 0)
		syscall(SYS_kill, getpid(), SIGKILL);
	if (strcmp(what, "int") == 0)
		raise(SIGINT);
	if (strcmp(what, "stop") == 0)
		raise(SIGSTOP);
	if (strcmp(what, "fail") != 0)
		return 0;
	errno = getenv("STOPAT_ERRNO") ? atoi(getenv("STOPAT_ERRNO")) : EIO;
	return 1;
}

static void *next(const char *name)
{
	void *fn = dlsym(RTLD_NEXT, name);

	if (!fn)
		abort();
	return fn;
}

#define CALL(name, type) ((type)next(name))

/* Definitions that only this library makes need no header. */
#define STAND_IN(ret, name, params, args, failure)                                                 \
	ret name params;                                                                           \
	ret name params                                                                            \
	{                                                                                          \
		if (reached(#name))                                                                \
			return failure;                                                            \
		return CALL(#name, ret(*) params) args;                                            \
	}

static int creates(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

static int counts(const char *path)
{
	const char *name = getenv("STOPAT_NAME");
	const char *slash = strrchr(path, '/');

	return !name || strcmp(slash ? slash + 1 : path, name) == 0;
}

#define STAND_IN_OPEN(name, params, first, args)                                                   \
	int name params;                                                                           \
	int name params                                                                            \
	{                                                                                          \
		mode_t mode = 0;                                                                   \
                                                                                                   \
		if (creates(flags)) {                                                              \
			va_list ap;                                                                \
                                                                                                   \
			va_start(ap, flags);                                                       \
			mode = va_arg(ap, mode_t);                                                 \
			va_end(ap);                                                                \
			if (counts(path) && reached(#name))                                        \
				return -1;                                                         \
		}                                                                                  \
		return CALL(#name, int (*) first) args;                                            \
	}

STAND_IN_OPEN(open, (const char *path, int flags, ...), (const char *, int, ...),
	(path, flags, mode))
STAND_IN_OPEN(open64, (const char *path, int flags, ...), (const char *, int, ...),
	(path, flags, mode))
STAND_IN_OPEN(openat, (int dirfd, const char *path, int flags, ...),
	(int, const char *, int, ...), (dirfd, path, flags, mode))
STAND_IN_OPEN(openat64, (int dirfd, const char *path, int flags, ...),
	(int, const char *, int, ...), (dirfd, path, flags, mode))

STAND_IN(int, mkdirat, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode), -1)
STAND_IN(int, rename, (const char *from, const char *to), (from, to), -1)
STAND_IN(int, renameat, (int fromfd, const char *from, int tofd, const char *to),
	(fromfd, from, tofd, to), -1)
STAND_IN(int, renameat2,
	(int fromfd, const char *from, int tofd, const char *to, unsigned int flags),
	(fromfd, from, tofd, to, flags), -1)
STAND_IN(int, unlink, (const char *path), (path), -1)
STAND_IN(int, unlinkat, (int dirfd, const char *path, int flags), (dirfd, path, flags), -1)
STAND_IN(ssize_t, pwritev, (int fd, const struct iovec *iov, int count, off_t off),
	(fd, iov, count, off), -1)
STAND_IN(ssize_t, pwritev64, (int fd, const struct iovec *iov, int count, off64_t off),
	(fd, iov, count, off), -1)
STAND_IN(int, ftruncate, (int fd, off_t size), (fd, size), -1)
STAND_IN(int, ftruncate64, (int fd, off64_t size), (fd, size), -1)
STAND_IN(int, fallocate, (int fd, int mode, off_t off, off_t len), (fd, mode, off, len), -1)
STAND_IN(int, fallocate64, (int fd, int mode, off64_t off, off64_t len), (fd, mode, off, len), -1)
STAND_IN(int, fsync, (int fd), (fd), -1)
STAND_IN(int, fdatasync, (int fd), (fd), -1)
STAND_IN(int, fchown, (int fd, uid_t uid, gid_t gid), (fd, uid, gid), -1)
STAND_IN(int, fchmod, (int fd, mode_t mode), (fd, mode), -1)
STAND_IN(int, fchmodat, (int dirfd, const char *path, mode_t mode, int flags),
	(dirfd, path, mode, flags), -1)

/* Those that make or change a file. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if ((request == FICLONE || request == FS_IOC_SETFLAGS) && reached("ioctl"))
		return -1;
	return CALL("ioctl", int (*)(int, unsigned long, void *))(fd, request, arg);
}

STAND_IN(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags), -1)

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	if (getenv("STOPAT_CALL") && reached("recv"))
		return -1;
	return CALL("recv", ssize_t(*)(int, void *, size_t, int))(fd, buf, len, flags);
}

/* libvirt's, without its headers: handles are pointers. */
STAND_IN(void *, virDomainDefineXMLFlags, (void *conn, const char *xml, unsigned int flags),
	(conn, xml, flags), NULL)
STAND_IN(int, virDomainUndefineFlags, (void *domain, unsigned int flags), (domain, flags), -1)
STAND_IN(int, virDomainDestroy, (void *domain), (domain), -1)
STAND_IN(int, virDomainFSFreeze,
	(void *domain, const char **mountpoints, unsigned int n, unsigned int flags),
	(domain, mountpoints, n, flags), -1)
STAND_IN(int, virDomainFSThaw,
	(void *domain, const char **mountpoints, unsigned int n, unsigned int flags),
	(domain, mountpoints, n, flags), -1)
