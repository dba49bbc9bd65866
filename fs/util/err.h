/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors of the control plane: a negative errno with a message and a hint.
 *
 * Data-path code returns 0, a count or -errno and no message. Control-plane
 * code takes a trailing `struct err *` as well: whoever detects the failure
 * sets it, callers may prefix it, nobody reads it to decide (they look at the
 * returned -errno), and it may be NULL. The edge (a verb, the daemon's main)
 * prints it once:
 *
 *	lazyclone: error: WHAT: WHY
 *	hint: ...
 *
 * The errno carries the class of the failure; err_exit_status() maps it to
 * the documented exit status, so each class has one number everywhere:
 *
 *	ENOENT ENXIO ESRCH        3  not found
 *	EEXIST EBUSY ETXTBSY      4  exists or in use
 *	EACCES EPERM              5  not permitted
 *	ETIMEDOUT                 6  timed out
 *	ECONNREFUSED ENOTCONN     7  daemon (or libvirt) not reachable
 *	EREMOTEIO                 8  partly done
 *	ENOSPC EDQUOT             9  no space
 *	EOPNOTSUPP               10  source not supported
 *	ESTALE                   11  base changed or missing
 *	EUCLEAN                  12  store damaged, foreign or too new
 *	EINVAL                    2  wrong usage
 *	anything else             1  failed
 *
 * Threads: a struct err belongs to one thread at a time.
 */
#ifndef FS_UTIL_ERR_H
#define FS_UTIL_ERR_H

#include <stdbool.h>

#define ERR_MESSAGE_MAX 1024 /* long paths are cut, never overflowed */
#define ERR_HINT_MAX 512

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_FOUND = 3,
	EXIT_EXISTS = 4,
	EXIT_NOT_PERMITTED = 5,
	EXIT_TIMED_OUT = 6,
	EXIT_UNREACHABLE = 7,
	EXIT_PARTLY = 8,
	EXIT_NO_SPACE = 9,
	EXIT_NOT_SUPPORTED = 10,
	EXIT_BASE_CHANGED = 11,
	EXIT_DAMAGED = 12,
};

struct err {
	int code; /* -errno, 0 while unset */
	char message[ERR_MESSAGE_MAX];
	char hint[ERR_HINT_MAX];
};

/* Set message; returns code, so that `return err_set(...)` reads well. */
int err_set(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with ": " and the errno's text appended. */
int err_sys(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Say how to go on. Replaces an earlier hint. */
void err_hint(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put "WHERE: " before the message. */
void err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Exit status for a -errno (0 gives EXIT_DONE). */
enum exit_status err_exit_status(int code);

/* The other way, for what a program of ours exited with: a -errno of that
 * class (0 for EXIT_DONE, -EIO for what is no class of ours). */
int err_of_exit_status(int status);

/* Print on stderr: "PROGRAM: error: MESSAGE" and the hint, if there is one. */
void err_print(const char *program, const struct err *err);

#endif
