/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as requests and as replies on the control socket. room: fs/ctl
 *
 * They go through a real socket in the sizes the first byte says, so that
 * lines are found across any border of packets.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/ctl/line.h"
#include "fs/ctl/message.h"

#define LINE_MAX_BYTES 4096
#define INPUT_MAX_BYTES 65536 /* fits the socket's buffer: nobody reads while we write */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(const char *line, size_t len)
{
	struct err err = {0};
	json_t *object;
	const char *verb;
	char *text;
	size_t text_len;
	int rc = message_parse(line, len, &object, &err);

	if (rc < 0) {
		if (err.code != rc || !err.message[0])
			abort();
		return;
	}
	if (message_verb(object, &verb, &err) == 0 && strlen(verb) > MESSAGE_VERB_MAX)
		abort();
	if (message_result(object, &err) > 0)
		abort();
	/* What was one line stays one. */
	if (message_format(object, &text, &text_len) < 0 || memchr(text, '\n', text_len))
		abort();
	free(text);
	json_decref(object);
}

static void send_all(int fd, const uint8_t *data, size_t size, size_t step)
{
	while (size > 0) {
		size_t n = size < step ? size : step;

		if (send(fd, data, n, MSG_NOSIGNAL) != (ssize_t)n)
			abort();
		data += n;
		size -= n;
	}
	shutdown(fd, SHUT_WR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct line_reader reader;
	char *line;
	size_t len;
	int fd[2];

	if (size < 1 || size > INPUT_MAX_BYTES)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		abort();
	/* Small packets cost buffer space each: no more than a thousand of them. */
	send_all(fd[0], data + 1, size - 1, 1 + data[0] + size / 200);
	line_reader_init(&reader, fd[1], LINE_MAX_BYTES);
	while (line_receive(&reader, 1000, 1000, &line, &len) == 0) {
		if (len >= LINE_MAX_BYTES || line[len])
			abort();
		take(line, len);
	}
	line_reader_release(&reader);
	close(fd[0]);
	close(fd[1]);
	return 0;
}
