/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bounded lines over a socket: see line.h. */
#include "fs/ctl/line.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "fs/util/clock.h"

#define LINE_FIRST_BYTES 4096

static int64_t deadline_in(int timeout_ms)
{
	return timeout_ms == LINE_FOREVER ? INT64_MAX : clock_now_ms() + timeout_ms;
}

static int wait_for(int fd, short events, int64_t deadline_ms)
{
	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = events};
		int64_t left = deadline_ms == INT64_MAX ? -1 : deadline_ms - clock_now_ms();
		int n;

		if (deadline_ms != INT64_MAX && left < 0)
			left = 0;
		n = poll(&pfd, 1, (int)left);
		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

void line_reader_init(struct line_reader *reader, int fd, size_t max_bytes)
{
	*reader = (struct line_reader){.fd = fd, .max_bytes = max_bytes};
}

void line_reader_release(struct line_reader *reader)
{
	free(reader->buf);
	reader->buf = NULL;
}

static void drop_last_line(struct line_reader *reader)
{
	reader->used -= reader->line;
	if (reader->used > 0)
		memmove(reader->buf, reader->buf + reader->line, reader->used);
	reader->line = 0;
}

static int make_room(struct line_reader *reader)
{
	size_t size = reader->size ? 2 * reader->size : LINE_FIRST_BYTES;
	char *buf;

	if (reader->used < reader->size)
		return 0;
	if (reader->size >= reader->max_bytes)
		return -EMSGSIZE;
	if (size > reader->max_bytes)
		size = reader->max_bytes;
	buf = realloc(reader->buf, size);
	if (!buf)
		return -ENOMEM;
	reader->buf = buf;
	reader->size = size;
	return 0;
}

/* Read what is there; 0, -EAGAIN nothing yet, or an error. */
static int read_some(struct line_reader *reader)
{
	int rc = make_room(reader);
	ssize_t n;

	if (rc < 0)
		return rc;
	do
		n = recv(reader->fd, reader->buf + reader->used, reader->size - reader->used, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return reader->used > 0 ? -ECONNRESET : -ENODATA;
	reader->used += (size_t)n;
	return 0;
}

int line_receive(struct line_reader *reader, int first_ms, int all_ms, char **ret_line,
	size_t *ret_len)
{
	int64_t deadline_ms;
	size_t seen = 0;

	drop_last_line(reader);
	deadline_ms = deadline_in(reader->used > 0 ? all_ms : first_ms);
	for (;;) {
		char *end = reader->used > seen
			? memchr(reader->buf + seen, '\n', reader->used - seen) : NULL;
		int rc;

		if (end) {
			*end = '\0';
			reader->line = (size_t)(end - reader->buf) + 1;
			*ret_line = reader->buf;
			*ret_len = reader->line - 1;
			return 0;
		}
		seen = reader->used;
		rc = read_some(reader);
		if (rc == -EAGAIN)
			rc = wait_for(reader->fd, POLLIN, deadline_ms);
		else if (rc == 0 && seen == 0)
			deadline_ms = deadline_in(all_ms);
		if (rc < 0)
			return rc;
	}
}

int line_send(int fd, const char *text, size_t len, int timeout_ms)
{
	struct iovec iov[2] = {
		{.iov_base = (void *)(uintptr_t)text, .iov_len = len},
		{.iov_base = (char[]){"\n"}, .iov_len = 1},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	int64_t deadline_ms = deadline_in(timeout_ms);

	while (iov[1].iov_len > 0) {
		ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		size_t first;

		if (n < 0 && errno == EAGAIN) {
			int rc = wait_for(fd, POLLOUT, deadline_ms);

			if (rc < 0)
				return rc;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		first = (size_t)n < iov[0].iov_len ? (size_t)n : iov[0].iov_len;
		iov[0].iov_base = (char *)iov[0].iov_base + first;
		iov[0].iov_len -= first;
		iov[1].iov_len -= (size_t)n - first;
	}
	return 0;
}
