/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories for tests: see temp.h. */
#include "tests/lib/temp.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEMP_DIRS_MAX 16

static char dirs[TEMP_DIRS_MAX][TEMP_PATH_MAX];
static pid_t owner; /* who made them; its children leave them alone */

/* Only what a signal handler may call: fork and exec. */
static void remove_all(void)
{
	for (int i = 0; i < TEMP_DIRS_MAX; i++) {
		pid_t pid = dirs[i][0] ? fork() : -1;

		if (pid == 0) {
			execl("/bin/rm", "rm", "-rf", "--one-file-system", "--", dirs[i], (char *)NULL);
			_exit(127);
		}
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
}

/* A failed assert() or a Ctrl-C ends the program without tear-down. */
static void on_signal(int sig)
{
	signal(sig, SIG_DFL);
	if (getpid() == owner)
		remove_all();
	raise(sig);
}

static void remember(const char *path)
{
	static const int deadly[] = {SIGABRT, SIGINT, SIGTERM, SIGHUP};

	if (owner != getpid())
		memset(dirs, 0, sizeof(dirs)); /* what a parent made */
	owner = getpid();
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		signal(deadly[i], on_signal);
	for (int i = 0; i < TEMP_DIRS_MAX; i++) {
		if (!dirs[i][0]) {
			snprintf(dirs[i], TEMP_PATH_MAX, "%s", path);
			return;
		}
	}
	fprintf(stderr, "too many temporary directories\n");
	exit(2);
}

static void make(const char *parent, const char *name, char *path)
{
	char made[TEMP_PATH_MAX];
	char *real = NULL;

	snprintf(made, sizeof(made), "%s/lazyclone-%s.XXXXXX", parent, name);
	if (mkdtemp(made))
		real = realpath(made, NULL);
	/* Without symbolic links on the way: paths are compared as text. */
	if (!real || strlen(real) >= TEMP_PATH_MAX) {
		perror(made);
		exit(2);
	}
	strcpy(path, real);
	free(real);
	remember(path);
}

void temp_dir(const char *name, char path[static TEMP_PATH_MAX])
{
	const char *parent = getenv("TMPDIR");

	make(parent && *parent ? parent : "/tmp", name, path);
}

void temp_dir_fast(const char *name, char path[static TEMP_PATH_MAX])
{
	if (access("/dev/shm", W_OK) == 0)
		make("/dev/shm", name, path);
	else
		temp_dir(name, path);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

void temp_dir_remove(const char *path)
{
	if (!path[0])
		return;
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	for (int i = 0; i < TEMP_DIRS_MAX; i++) {
		if (strcmp(dirs[i], path) == 0) {
			dirs[i][0] = '\0';
			return;
		}
	}
}
