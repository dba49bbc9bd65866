/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Error objects of the control plane: see err.h. */
#include "fs/util/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set_message(struct err *err, int code, const char *fmt, va_list ap)
{
	err->code = code;
	err->hint[0] = '\0';
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	set_message(err, code, fmt, ap);
	va_end(ap);
	return code;
}

int err_sys(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;
	size_t used;

	if (!err)
		return code;
	va_start(ap, fmt);
	set_message(err, code, fmt, ap);
	va_end(ap);
	used = strlen(err->message);
	snprintf(err->message + used, sizeof(err->message) - used, ": %s", strerror(-code));
	return code;
}

void err_hint(struct err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return;
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
}

void err_prefix(struct err *err, const char *fmt, ...)
{
	char old[ERR_MESSAGE_MAX];
	va_list ap;
	size_t used;

	if (!err)
		return;
	memcpy(old, err->message, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	used = strlen(err->message);
	snprintf(err->message + used, sizeof(err->message) - used, ": %s", old);
}

enum exit_status err_exit_status(int code)
{
	switch (-code) {
	case 0:
		return EXIT_DONE;
	case EINVAL:
		return EXIT_USAGE;
	case ENOENT:
	case ENXIO:
	case ESRCH:
		return EXIT_NOT_FOUND;
	case EEXIST:
	case EBUSY:
	case ETXTBSY:
		return EXIT_EXISTS;
	case EACCES:
	case EPERM:
		return EXIT_NOT_PERMITTED;
	case ETIMEDOUT:
		return EXIT_TIMED_OUT;
	case ECONNREFUSED:
	case ENOTCONN:
		return EXIT_UNREACHABLE;
	case EREMOTEIO:
		return EXIT_PARTLY;
	case ENOSPC:
	case EDQUOT:
		return EXIT_NO_SPACE;
	case EOPNOTSUPP:
		return EXIT_NOT_SUPPORTED;
	case ESTALE:
		return EXIT_BASE_CHANGED;
	case EUCLEAN:
		return EXIT_DAMAGED;
	default:
		return EXIT_FAILED;
	}
}

int err_of_exit_status(int status)
{
	static const int code[] = {
		[EXIT_DONE] = 0,
		[EXIT_FAILED] = -EIO,
		[EXIT_USAGE] = -EINVAL,
		[EXIT_NOT_FOUND] = -ENOENT,
		[EXIT_EXISTS] = -EBUSY,
		[EXIT_NOT_PERMITTED] = -EACCES,
		[EXIT_TIMED_OUT] = -ETIMEDOUT,
		[EXIT_UNREACHABLE] = -ECONNREFUSED,
		[EXIT_PARTLY] = -EREMOTEIO,
		[EXIT_NO_SPACE] = -ENOSPC,
		[EXIT_NOT_SUPPORTED] = -EOPNOTSUPP,
		[EXIT_BASE_CHANGED] = -ESTALE,
		[EXIT_DAMAGED] = -EUCLEAN,
	};

	if (status < 0 || status > EXIT_DAMAGED)
		return -EIO;
	return code[status];
}

void err_print(const char *program, const struct err *err)
{
	fprintf(stderr, "%s: error: %s\n", program, err->message);
	if (err->hint[0])
		fprintf(stderr, "hint: %s\n", err->hint);
}
