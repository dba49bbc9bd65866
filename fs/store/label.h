/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store's label, STORE/lazyclone-store: what this directory is.
 *
 * Sealed JSON (sealed.h), written once and never changed by this version:
 *
 *	{"format": "lazyclone store", "version": 1, "id": ID, "created": SECONDS,
 *	 "incompat": "0x1", "ro_compat": "0x0", "compat": "0x0", "checksum": HEX}
 *
 * The three feature words are hexadecimal, 64 bits. A reader that meets a bit
 * it does not know
 *
 *	in incompat     refuses the store,
 *	in ro_compat    reads it and changes nothing,
 *	in compat       goes on.
 */
#ifndef FS_STORE_LABEL_H
#define FS_STORE_LABEL_H

#include <stdbool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/util/err.h"
#include "fs/util/id.h"

#define LABEL_FILE "lazyclone-store"
#define LABEL_FORMAT "lazyclone store"
#define LABEL_BYTES_MAX (64u << 10) /* eight short members, and room for more */

/* Manifests name layers, and layers/ is theirs. Every store has it: one without
 * is from before the first release, and its logs are not read any more. */
#define LABEL_INCOMPAT_LAYERS UINT64_C(1)

#define LABEL_KNOWN_INCOMPAT LABEL_INCOMPAT_LAYERS
#define LABEL_KNOWN_RO_COMPAT UINT64_C(0)

struct label {
	struct id id;
	uint64_t unknown_ro_compat; /* bits that forbid us to write */
};

/* Is it a name of a label that was not published? Nothing else is a leftover: an
 * operator may have kept a copy beside it. */
bool label_is_temp(const char *entry);

/* Text of a new label with a fresh id. 0 or -ENOMEM; caller frees *ret_text. */
int label_new(char **ret_text, size_t *ret_len);
/* The same with an id that is known. */
int label_format(const struct id *id, char **ret_text, size_t *ret_len);

/* Takes any bytes. -EUCLEAN: not a store's label, damaged, or too new. */
int label_parse(const char *text, size_t len, struct label *ret_label, struct err *err);

#endif
