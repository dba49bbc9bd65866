/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as a manifest and as a store's label. room: fs/store
 *
 * The first byte says how the rest is taken: '!' as it stands; anything else
 * starts the text, which is sealed anew where it is an object, so that the
 * checks behind the checksum are reached.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/store/label.h"
#include "fs/store/sealed.h"
#include "fs/store/store.h"

static void check_accepted(struct manifest *m)
{
	char *text;
	size_t len;
	struct manifest *back;

	/* What the parser lets in, the writer must be able to write again. */
	if (manifest_format(m, &text, &len) < 0 || manifest_parse(text, len, &back, NULL) < 0)
		abort();
	if (strcmp(back->name, m->name) != 0 || back->n_disks != m->n_disks ||
		back->n_snapshots != m->n_snapshots || back->quota_bytes != m->quota_bytes)
		abort();
	for (uint32_t i = 0; i < m->n_snapshots; i++)
		for (uint32_t k = 0; k < m->n_disks; k++)
			if (manifest_snapshot_top(m, &m->snapshots[i], &m->disks[k]) >
				m->disks[k].n_layers)
				abort();
	manifest_free(back);
	free(text);
}

static void take(const char *text, size_t len)
{
	struct manifest *m;
	struct label label;
	struct err err;

	if (manifest_parse(text, len, &m, &err) == 0) {
		check_accepted(m);
		manifest_free(m);
	}
	label_parse(text, len, &label, &err);
}

static void take_sealed(const char *text, size_t len, const char *format)
{
	json_t *object = json_loadb(text, len, 0, NULL);
	char *sealed;
	size_t sealed_len;

	if (json_is_object(object) && sealed_format(object, format, &sealed, &sealed_len) == 0) {
		take(sealed, sealed_len);
		free(sealed);
	}
	json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	if (size > 0 && data[0] == '!') {
		take(text + 1, size - 1);
		return 0;
	}
	take_sealed(text, size, "lazyclone manifest");
	take_sealed(text, size, "lazyclone store");
	return 0;
}
