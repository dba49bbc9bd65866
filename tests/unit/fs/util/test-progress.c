/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress off a terminal: a line per tenth, a line on SIGUSR1, silence when asked for. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/util/progress.h"

static int lines_of(const char *text)
{
	int lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

struct capture {
	FILE *file;
	char text[4096];
};

static void capture_begin(struct capture *c)
{
	c->file = tmpfile();
	assert_non_null(c->file);
}

static const char *capture_end(struct capture *c)
{
	size_t len;

	rewind(c->file);
	len = fread(c->text, 1, sizeof(c->text) - 1, c->file);
	c->text[len] = '\0';
	fclose(c->file);
	return c->text;
}

static void tenths(void **state)
{
	struct capture c;
	struct progress p;
	const char *text;

	(void)state;
	capture_begin(&c);
	progress_begin(&p, "web", c.file, false);
	for (uint64_t done = 0; done <= 1000; done++)
		progress_update(&p, done, 1000);
	progress_end(&p);
	text = capture_end(&c);
	assert_int_equal(lines_of(text), 11); /* 0 %, 10 % ... 100 % */
	assert_non_null(strstr(text, "web: 0 %"));
	assert_non_null(strstr(text, "web: 100 %"));
	assert_null(strchr(text, '\r'));
}

static void on_signal(void **state)
{
	struct capture c;
	struct progress p;
	const char *text;

	(void)state;
	capture_begin(&c);
	progress_begin(&p, "web", c.file, true);
	progress_update(&p, 100, 1000);
	raise(SIGUSR1);
	progress_update(&p, 330, 1000);
	progress_update(&p, 900, 1000);
	progress_end(&p);
	text = capture_end(&c);
	assert_int_equal(lines_of(text), 1);
	assert_non_null(strstr(text, "web: 33 %"));
}

static void odd_totals(void **state)
{
	struct capture c;
	struct progress p;

	(void)state;
	capture_begin(&c);
	progress_begin(&p, "empty", c.file, false);
	progress_update(&p, 0, 0);
	progress_update(&p, UINT64_MAX, 1); /* the file grew under us */
	progress_end(&p);
	assert_int_equal(lines_of(capture_end(&c)), 1);
}

/* Everything that was written to a terminal now closed; it may come in pieces. */
static size_t read_all(int master, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 && (n = read(master, text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return len;
}

/* A bar is redrawn on its line, and nothing of it stays. */
static void on_terminal(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	char text[4096];
	struct progress p;
	FILE *terminal;
	size_t len;

	(void)state;
	assert_true(master >= 0 && !grantpt(master) && !unlockpt(master));
	terminal = fopen(ptsname(master), "we");
	assert_non_null(terminal);
	progress_begin(&p, "web", terminal, false);
	progress_update(&p, 1, 2);
	progress_update(&p, 2, 2);
	progress_end(&p);
	fclose(terminal);
	len = read_all(master, text, sizeof(text));
	assert_true(len > 4);
	assert_non_null(strstr(text, "web [###############               ]  50 %"));
	assert_null(strchr(text, '\n'));
	assert_string_equal(text + len - 4, "\r\033[K");
	close(master);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tenths),
		cmocka_unit_test(on_signal),
		cmocka_unit_test(odd_totals),
		cmocka_unit_test(on_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
