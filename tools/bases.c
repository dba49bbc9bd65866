/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Are the bases of clones what they were? See bases.h. */
#include "tools/bases.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/base.h"
#include "fs/util/cleanup.h"

struct known_base {
	char *path, *identity;
	char *problem; /* NULL: none */
};

static int identify(const struct store_disk *disk, char **ret_identity, struct err *err)
{
	struct base_source *source;
	uint64_t size;
	int rc = base_identity_source(disk->base_path, disk->base_identity, &source, err);

	if (rc < 0)
		return rc;
	rc = base_identify(source, ret_identity, &size, err);
	base_source_free(source);
	return rc;
}

static char *look(const struct store_disk *disk)
{
	AUTO_FREE char *now = NULL;
	struct err err = {0};
	int rc = identify(disk, &now, &err);

	if (rc < 0)
		return strdup(err.message);
	return base_identity_equal(now, disk->base_identity)
		? NULL : strdup("it is not what it was when the clone was made");
}

static struct known_base *find(const struct bases *bases, const struct store_disk *disk)
{
	for (size_t i = 0; i < bases->n; i++)
		if (strcmp(bases->known[i].path, disk->base_path) == 0 &&
			strcmp(bases->known[i].identity, disk->base_identity) == 0)
			return &bases->known[i];
	return NULL;
}

static struct known_base *add(struct bases *bases, const struct store_disk *disk)
{
	struct known_base *base;

	if (bases->n == bases->room) {
		size_t room = bases->room ? 2 * bases->room : 16;
		struct known_base *more = reallocarray(bases->known, room, sizeof(*more));

		if (!more)
			return NULL;
		bases->known = more;
		bases->room = room;
	}
	base = &bases->known[bases->n];
	*base = (struct known_base){
		.path = strdup(disk->base_path), .identity = strdup(disk->base_identity)};
	if (!base->path || !base->identity) {
		free(base->path);
		free(base->identity);
		return NULL;
	}
	bases->n++;
	base->problem = look(disk);
	return base;
}

const char *bases_problem(struct bases *bases, const struct store_disk *disk)
{
	struct known_base *base;

	if (!disk->base_path)
		return NULL;
	base = find(bases, disk);
	if (!base)
		base = add(bases, disk);
	return base ? base->problem : "no memory to look at it";
}

void bases_release(struct bases *bases)
{
	for (size_t i = 0; i < bases->n; i++) {
		free(bases->known[i].path);
		free(bases->known[i].identity);
		free(bases->known[i].problem);
	}
	free(bases->known);
}
