/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The identity of a whole base, and its text as it stands in manifests. Private to fs/base.
 *
 * Of every file of the chain: where it was found and what it was. The path of
 * the top image is not part of the text; manifests have it beside.
 */
#ifndef FS_BASE_IDENTITY_TEXT_H
#define FS_BASE_IDENTITY_TEXT_H

#include "fs/base/base.h"
#include "fs/base/identity.h"

struct known {
	struct base_source *source;
	struct identity *images; /* one for each of the source's images */
	struct identity *data;   /* the same; of those that have a data file */
};

/* Room for the identities of source, which it takes over (also if it fails). -ENOMEM. */
int known_new(struct base_source *source, struct known **ret_known);
void known_free(struct known *known); /* NULL allowed */

/* One line of JSON, the caller's to free. -ENOMEM; -E2BIG, -EILSEQ: names too long, not UTF-8. */
int known_format(const struct known *known, char **ret_text);

/* path: of the top image. -EUCLEAN: not an identity, or one of a newer lazyclone. */
int known_parse(const char *path, const char *text, struct known **ret_known, struct err *err);

bool known_same(const struct known *a, const struct known *b);

#endif
