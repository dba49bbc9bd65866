/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories, files and patience of tests: see scratch.h. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/util/io.h"
#include "tests/lib/rng.h"
#include "tests/lib/scratch.h"
#include "tests/lib/temp.h"

#define ROUND_NS 2000000
#define ROUNDS_MAX 10000
#define OUTPUT_MAX 65536

static char dir[TEMP_PATH_MAX];

void scratch_make(void)
{
	assert_string_equal(dir, "");
	temp_dir("test", dir);
}

void scratch_remove(void)
{
	temp_dir_remove(dir);
	dir[0] = '\0';
}

const char *scratch_dir(void)
{
	return dir;
}

const char *scratch_path(char path[static SCRATCH_PATH_MAX], const char *name)
{
	int n = snprintf(path, SCRATCH_PATH_MAX, "%s/%s", dir, name);

	assert_true(n > 0 && n < SCRATCH_PATH_MAX);
	return path;
}

void scratch_file(const char *path, const void *data, size_t len, uint64_t size_bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
	assert_int_equal(io_write_full(&io_kernel, fd, data, len, 0), 0);
	close(fd);
}

void scratch_fill(void *data, size_t len, uint64_t seed)
{
	unsigned char *p = data;
	uint64_t random = 0;

	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			random = rng_next(&seed);
		p[i] = i % 64 < 32 ? (unsigned char)(random >> i % 8 * 8) : 'x';
	}
}

int scratch_run(char **ret_output, const char *fmt, ...)
{
	char *output = calloc(1, OUTPUT_MAX);
	char command[4096];
	va_list ap;
	FILE *pipe;
	int status;

	assert_non_null(output);
	va_start(ap, fmt);
	assert_true(vsnprintf(command, sizeof(command), fmt, ap) < (int)sizeof(command));
	va_end(ap);
	pipe = popen(command, "re");
	assert_non_null(pipe);
	(void)!fread(output, 1, OUTPUT_MAX - 1, pipe);
	status = pclose(pipe);
	if (ret_output)
		*ret_output = output;
	else
		free(output);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool scratch_patience(unsigned int *rounds)
{
	nanosleep(&(struct timespec){.tv_nsec = ROUND_NS}, NULL);
	return ++*rounds < ROUNDS_MAX;
}
