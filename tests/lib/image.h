/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory tree in memory: what a disk holds after a power cut.
 *
 * Nodes have numbers that stay theirs, the root is node 0; a file may have
 * several names, and without one it may still be written to, as an open file. A file's bytes beyond
 * what was written are zeros. Running out of memory ends the program: this
 * is for tests.
 */
#ifndef TESTS_LIB_IMAGE_H
#define TESTS_LIB_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_ROOT 0
#define IMAGE_NONE UINT32_MAX
#define IMAGE_FILE_MAX (UINT64_C(64) << 20) /* what a test writes; sizes may be larger */

struct image_entry {
	char *name;
	uint32_t node;
};

struct image_node {
	bool is_dir;
	uint64_t size_bytes; /* files */
	uint8_t *data;       /* the first held bytes */
	size_t held;
	struct image_entry *entries; /* directories */
	size_t n_entries;
};

struct image {
	struct image_node *nodes;
	uint32_t n_nodes;
};

struct image *image_new(void); /* an empty root */
struct image *image_copy(const struct image *image);
/* Names only: files are empty. */
struct image *image_copy_names(const struct image *image);
void image_free(struct image *image);

/* Walk path ("a/b", ".", "") from directory node. IMAGE_NONE if it is not there. */
uint32_t image_walk(const struct image *image, uint32_t node, const char *path);

uint32_t image_add_node(struct image *image, bool is_dir);
/* What had that name loses it. */
void image_link(struct image *image, uint32_t dir, const char *name, uint32_t node);
void image_unlink(struct image *image, uint32_t dir, const char *name);

void image_write(struct image *image, uint32_t node, const void *data, size_t len, uint64_t off);
void image_zero(struct image *image, uint32_t node, uint64_t off, uint64_t len);
void image_resize(struct image *image, uint32_t node, uint64_t size_bytes);

/* The tree in the directory path; two names of a file are one node. */
struct image *image_load(const char *path);

/* Make the tree in the existing, empty directory path; delete what is in it. */
void image_store(const struct image *image, const char *path);
void image_clear(const char *path);

/* malloc and friends that end the program when there is no memory. */
void *need_memory(void *p);

#endif
