/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding and deleting strays: see strays.h.
 *
 * A killed freeze or reset leaves new logs that no manifest names yet, or old
 * ones that none names any more. The manifest that is there may itself not be
 * durable yet; a power cut could bring back the one before, which names what
 * looks like a stray now. So the directory is synced before anything goes.
 */
#include "fs/store/strays.h"

#include <errno.h>
#include <string.h>

#include "fs/store/directory.h"

struct strays {
	const struct io_gate *io;
	const struct manifest *manifest;
	bool synced;
};

static bool is_ours(const char *suffix)
{
	static const char *const ours[] = {".super", ".log", ".ckpt", ".ckpt.tmp"};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strcmp(suffix, ours[i]) == 0)
			return true;
	}
	return false;
}

bool strays_is_one(const struct manifest *m, const char *entry)
{
	char text[ID_TEXT];
	struct id id;

	if (strcmp(entry, DIRECTORY_MANIFEST ".tmp") == 0)
		return true;
	if (strlen(entry) < ID_TEXT || !is_ours(entry + ID_TEXT - 1))
		return false;
	memcpy(text, entry, ID_TEXT - 1);
	text[ID_TEXT - 1] = '\0';
	if (id_parse(text, &id) < 0)
		return false;
	for (uint32_t i = 0; i < m->n_disks; i++) {
		if (id_equal(&m->disks[i].log, &id))
			return false;
	}
	return true;
}

static int sweep_entry(void *ctx, int fd, const char *entry)
{
	struct strays *strays = ctx;
	int rc = 0;

	if (!strays_is_one(strays->manifest, entry))
		return 0;
	if (!strays->synced)
		rc = strays->io->fsync(strays->io, fd);
	if (rc < 0)
		return rc;
	strays->synced = true;
	rc = strays->io->unlinkat(strays->io, fd, entry, 0);
	return rc == -ENOENT ? 0 : rc;
}

int strays_sweep(const struct io_gate *io, int fd, const struct manifest *m)
{
	struct strays strays = {.io = io, .manifest = m};

	return directory_each(io, fd, ".", sweep_entry, &strays);
}
