/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel's table of mounts: see mounts.h. */
#include "fs/util/mounts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fs/util/cleanup.h"

/* One line: ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS */
struct line {
	dev_t dev;
	const char *point;
	const char *type;
	char *source;
};

static void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* The kernel writes blank, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in; out++) {
		if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] && in[3]) {
			*out = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0'));
			in += 4;
		} else {
			*out = *in++;
		}
	}
	*out = '\0';
}

static void skip_field(char **text)
{
	if (*text)
		strsep(text, " ");
}

static bool parse(char *text, struct line *ret_line)
{
	char *rest = strstr(text, " - ");
	unsigned int dev_major, dev_minor;
	struct line line;
	char *point;

	if (!rest)
		return false;
	*rest = '\0';
	rest += 3;
	line.type = strsep(&rest, " ");
	line.source = rest ? strsep(&rest, " ") : NULL;
	skip_field(&text);
	skip_field(&text);
	if (!text || sscanf(text, "%u:%u", &dev_major, &dev_minor) != 2)
		return false;
	skip_field(&text);
	skip_field(&text);
	point = text ? strsep(&text, " ") : NULL;
	if (!point || !line.source)
		return false;
	unescape(point);
	unescape(line.source);
	line.point = point;
	line.dev = makedev(dev_major, dev_minor);
	*ret_line = line;
	return true;
}

/* Later lines lie on top of earlier ones: the last match is the one seen. */
static int find(const char *path, const dev_t *dev, struct mounts_entry *ret_entry)
{
	AUTO(cleanup_file) FILE *f = fopen("/proc/self/mountinfo", "re");
	AUTO_FREE char *text = NULL;
	size_t size = 0;
	int found = 0;

	if (!f)
		return -errno;
	while (getline(&text, &size, f) > 0) {
		struct line line;

		if (!parse(text, &line))
			continue;
		if (path ? strcmp(line.point, path) != 0 : line.dev != *dev)
			continue;
		found = 1;
		ret_entry->dev = line.dev;
		snprintf(ret_entry->type, sizeof(ret_entry->type), "%s", line.type);
		snprintf(ret_entry->source, sizeof(ret_entry->source), "%s", line.source);
	}
	return found;
}

int mounts_at(const char *path, struct mounts_entry *ret_entry)
{
	return find(path, NULL, ret_entry);
}

int mounts_of_dev(dev_t dev, struct mounts_entry *ret_entry)
{
	return find(NULL, &dev, ret_entry);
}

int mounts_canonical(const char *path, char canonical[static PATH_MAX])
{
	AUTO_FREE char *copy = strdup(path);
	char parent[PATH_MAX];
	char *last, *slash;
	struct stat st;
	size_t len;

	if (!copy)
		return -ENOMEM;
	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		return realpath(path, canonical) ? 0 : -errno;
	for (len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = '\0';
	slash = strrchr(copy, '/');
	last = slash ? slash + 1 : copy;
	if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
		return realpath(path, canonical) ? 0 : -errno;
	if (slash)
		*slash = '\0';
	if (!realpath(!slash ? "." : *copy ? copy : "/", parent))
		return -errno;
	len = strcmp(parent, "/") == 0 ? 0 : strlen(parent);
	if (snprintf(canonical, PATH_MAX, "%.*s/%s", (int)len, parent, last) >= PATH_MAX)
		return -ENAMETOOLONG;
	return 0;
}
