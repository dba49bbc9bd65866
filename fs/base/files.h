/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the files of a base: for whoever keeps book of them (who needs which file).
 *
 * A manifest has a base as the path of its top image and one text, the identity
 * (base.h). Here it is taken apart: each file of the chain, external data files
 * included, with its own identity; and put together again after one of them
 * has moved. Errors as in base.h.
 */
#ifndef FS_BASE_FILES_H
#define FS_BASE_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/util/err.h"

#define BASE_FILE_ID 17 /* with the NUL */

struct base_file {
	char *path;
	char *format;    /* what it is read as; of a data file: "raw" */
	bool data;       /* the external data file of the image before it */
	bool device;
	uint64_t size_bytes; /* of the file, not of what it holds */
	char *identity;  /* of this file alone */
	/* 16 hexadecimal digits that follow from the identity: the same as long
	 * as the file is the same, a chown or a rename included. */
	char id[BASE_FILE_ID];
};

/* The files of the base, the top first. */
int base_files(const char *path, const char *identity, struct base_file **ret_files,
	uint32_t *ret_count, struct err *err);
void base_files_free(struct base_file *files, uint32_t count);

/* Is what its path leads to now still that file? 0; -ESTALE changed, moved or
 * gone, said by name. Nothing is held: a writer may come at any time. */
int base_file_check(const struct base_file *file, struct err *err);

/* Has what is at path the size and the content sample that are in the file's
 * identity? 0 or -ESTALE. Less than a fingerprint says (fingerprint.h). */
int base_file_same_sample(const struct base_file *file, const char *path, struct err *err);

/* The base once its file at from (which is one of them) is the file at to, as
 * that one is now. What it holds is not compared: fingerprint.h. from is not
 * looked at. -ENOENT: the base has no such file. Both texts are the caller's. */
int base_files_move(const char *path, const char *identity, const char *from, const char *to,
	char **ret_path, char **ret_identity, struct err *err);

#endif
