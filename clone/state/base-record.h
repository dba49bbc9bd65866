/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a store remembers of a base file: its fingerprint, taken when it was first used.
 *
 * STORE/bases/ID.json, published by rename; ID is 16 hexadecimal digits that
 * follow from the file's identity. A cache of what was seen once: manifests
 * alone say which bases are needed, and a store without these records works.
 * What is lost with one is what a later look can be compared with. They go
 * with the last clone that needs the file.
 */
#ifndef CLONE_STATE_BASE_RECORD_H
#define CLONE_STATE_BASE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/util/err.h"

#define BASE_RECORD_DIR "bases"
#define BASE_RECORD_ID 17 /* with the NUL */
#define BASE_RECORD_BYTES_MAX (256u << 10)
#define BASE_RECORDS_MAX 65536

struct base_record {
	char *path;        /* where it was when it was seen */
	char *format;      /* "raw", "qcow2" ... */
	char *identity;    /* opaque, as in manifests, of this file alone */
	char *fingerprint; /* opaque text */
	int64_t taken_sec;
};

void base_record_free(struct base_record *record); /* NULL allowed */

/* Durable when it returns 0. */
int base_record_write(int store_dirfd, const char id[static BASE_RECORD_ID],
	const struct base_record *record, struct err *err);

/* -ENOENT: there is none; -EUCLEAN: it is damaged. */
int base_record_read(int store_dirfd, const char id[static BASE_RECORD_ID],
	struct base_record **ret_record, struct err *err);

bool base_record_exists(int store_dirfd, const char id[static BASE_RECORD_ID]);

/* Ids, sorted; the caller frees. No directory: none. */
int base_record_list(int store_dirfd, char (**ret_ids)[BASE_RECORD_ID], uint32_t *ret_count,
	struct err *err);

/* Delete what a crash left of records being written, and the directory once it
 * is empty. Who is just writing one has to write it again. */
void base_record_tidy(int store_dirfd);

/* 0 also if it is not there. */
int base_record_remove(int store_dirfd, const char id[static BASE_RECORD_ID], struct err *err);

#endif
