/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lines over a socket, bounded in length and in time.
 *
 * The socket is non-blocking. A line is text without NUL up to a newline, of
 * at most max_bytes. Errors: -ETIMEDOUT; -EMSGSIZE longer than the limit;
 * -ENODATA the peer closed between two lines; -ECONNRESET within one.
 * Threads: one reader and one writer at a time.
 */
#ifndef FS_CTL_LINE_H
#define FS_CTL_LINE_H

#include <stddef.h>

#define LINE_FOREVER (-1)

struct line_reader {
	int fd;           /* not owned */
	size_t max_bytes; /* of one line, newline included */
	char *buf;
	size_t size; /* of buf */
	size_t used; /* bytes in buf */
	size_t line; /* length of the line last handed out, newline included */
};

void line_reader_init(struct line_reader *reader, int fd, size_t max_bytes);
void line_reader_release(struct line_reader *reader);

/* The next line, NUL-terminated, without its newline; valid until the next
 * call. first_ms: how long to wait for its first byte; all_ms: from there
 * for the whole line. */
int line_receive(struct line_reader *reader, int first_ms, int all_ms, char **ret_line,
	size_t *ret_len);

/* Send text and a newline. text may not contain one. */
int line_send(int fd, const char *text, size_t len, int timeout_ms);

#endif
