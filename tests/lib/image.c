/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directory trees in memory and back on disk: see image.h. */
#include "tests/lib/image.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/util/round.h"

#define PAGE_BYTES 4096

void *need_memory(void *p)
{
	if (!p) {
		fprintf(stderr, "out of memory\n");
		abort();
	}
	return p;
}

struct image *image_new(void)
{
	struct image *image = need_memory(calloc(1, sizeof(*image)));

	image_add_node(image, true);
	return image;
}

static struct image *copy(const struct image *image, bool with_data)
{
	struct image *out = need_memory(calloc(1, sizeof(*out)));

	out->nodes = need_memory(calloc(image->n_nodes, sizeof(*out->nodes)));
	out->n_nodes = image->n_nodes;
	for (uint32_t i = 0; i < image->n_nodes; i++) {
		const struct image_node *from = &image->nodes[i];
		struct image_node *to = &out->nodes[i];

		to->is_dir = from->is_dir;
		if (with_data && from->held > 0) {
			to->data = need_memory(malloc(from->held));
			memcpy(to->data, from->data, from->held);
			to->held = from->held;
		}
		to->size_bytes = with_data ? from->size_bytes : 0;
		for (size_t k = 0; k < from->n_entries; k++)
			image_link(out, i, from->entries[k].name, from->entries[k].node);
	}
	return out;
}

struct image *image_copy(const struct image *image)
{
	return copy(image, true);
}

struct image *image_copy_names(const struct image *image)
{
	return copy(image, false);
}

void image_free(struct image *image)
{
	if (!image)
		return;
	for (uint32_t i = 0; i < image->n_nodes; i++) {
		for (size_t k = 0; k < image->nodes[i].n_entries; k++)
			free(image->nodes[i].entries[k].name);
		free(image->nodes[i].entries);
		free(image->nodes[i].data);
	}
	free(image->nodes);
	free(image);
}

static struct image_entry *find(const struct image *image, uint32_t dir, const char *name,
	size_t len)
{
	struct image_node *node = &image->nodes[dir];

	for (size_t k = 0; k < node->n_entries; k++) {
		if (strlen(node->entries[k].name) == len &&
			memcmp(node->entries[k].name, name, len) == 0)
			return &node->entries[k];
	}
	return NULL;
}

uint32_t image_walk(const struct image *image, uint32_t node, const char *path)
{
	while (node != IMAGE_NONE && *path) {
		size_t len = strcspn(path, "/");

		if (len > 0 && !(len == 1 && *path == '.')) {
			struct image_entry *entry = find(image, node, path, len);

			node = entry ? entry->node : IMAGE_NONE;
		}
		path += len;
		path += strspn(path, "/");
	}
	return node;
}

uint32_t image_add_node(struct image *image, bool is_dir)
{
	image->nodes = need_memory(
		reallocarray(image->nodes, image->n_nodes + 1, sizeof(*image->nodes)));
	memset(&image->nodes[image->n_nodes], 0, sizeof(*image->nodes));
	image->nodes[image->n_nodes].is_dir = is_dir;
	return image->n_nodes++;
}

void image_link(struct image *image, uint32_t dir, const char *name, uint32_t node)
{
	struct image_node *parent = &image->nodes[dir];
	struct image_entry *entry = find(image, dir, name, strlen(name));

	if (!entry) {
		parent->entries = need_memory(reallocarray(
			parent->entries, parent->n_entries + 1, sizeof(*parent->entries)));
		entry = &parent->entries[parent->n_entries++];
		entry->name = need_memory(strdup(name));
	}
	entry->node = node;
}

void image_unlink(struct image *image, uint32_t dir, const char *name)
{
	struct image_node *parent = &image->nodes[dir];
	struct image_entry *entry = find(image, dir, name, strlen(name));

	if (!entry)
		return;
	free(entry->name);
	*entry = parent->entries[--parent->n_entries];
}

static void hold(struct image_node *node, uint64_t end)
{
	size_t held;

	assert(end <= IMAGE_FILE_MAX);
	if (end <= node->held)
		return;
	held = round_up(end, PAGE_BYTES);
	node->data = need_memory(realloc(node->data, held));
	memset(node->data + node->held, 0, held - node->held);
	node->held = held;
}

void image_write(struct image *image, uint32_t number, const void *data, size_t len, uint64_t off)
{
	struct image_node *node = &image->nodes[number];

	if (len == 0)
		return;
	hold(node, off + len);
	memcpy(node->data + off, data, len);
	node->size_bytes = max_u64(node->size_bytes, off + len);
}

void image_zero(struct image *image, uint32_t number, uint64_t off, uint64_t len)
{
	struct image_node *node = &image->nodes[number];

	if (off < node->held)
		memset(node->data + off, 0, min_u64(len, node->held - off));
}

void image_resize(struct image *image, uint32_t number, uint64_t size_bytes)
{
	struct image_node *node = &image->nodes[number];

	if (size_bytes < node->size_bytes)
		image_zero(image, number, size_bytes, UINT64_MAX - size_bytes);
	node->size_bytes = size_bytes;
}

static bool all_zero(const uint8_t *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

static void fail(const char *what, const char *name)
{
	fprintf(stderr, "%s %s: ", what, name);
	perror(NULL);
	abort();
}

static void store_file(const struct image_node *node, int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	size_t end = min_u64(node->held, node->size_bytes);

	if (fd < 0)
		fail("create", name);
	for (size_t off = 0; off < end;) {
		size_t len = 0;

		while (off + len < end &&
			!all_zero(node->data + off + len, min_u64(PAGE_BYTES, end - off - len)))
			len += min_u64(PAGE_BYTES, end - off - len);
		if (len > 0 && pwrite(fd, node->data + off, len, (off_t)off) != (ssize_t)len)
			fail("write", name);
		off += len + PAGE_BYTES;
	}
	if (ftruncate(fd, (off_t)node->size_bytes) < 0)
		fail("size", name);
	close(fd);
}

/* Where each node is: a directory's descriptor, a file's first name, to which
 * its other names become links. */
struct place {
	int fd;
	int dirfd;
	const char *name;
};

static void store_one(const struct image *image, uint32_t number, int dirfd, const char *name,
	struct place *places)
{
	struct place *place = &places[number];

	if (image->nodes[number].is_dir) {
		if (mkdirat(dirfd, name, 0700) < 0)
			fail("mkdir", name);
		place->fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} else if (place->name) {
		if (linkat(place->dirfd, place->name, dirfd, name, 0) < 0)
			fail("link", name);
	} else {
		store_file(&image->nodes[number], dirfd, name);
	}
	place->dirfd = dirfd;
	place->name = name;
}

static void store_dir(const struct image *image, uint32_t number, struct place *places)
{
	const struct image_node *node = &image->nodes[number];

	for (size_t k = 0; k < node->n_entries; k++) {
		uint32_t child = node->entries[k].node;

		store_one(image, child, places[number].fd, node->entries[k].name, places);
		if (image->nodes[child].is_dir)
			store_dir(image, child, places);
	}
}

void image_store(const struct image *image, const char *path)
{
	struct place *places = need_memory(calloc(image->n_nodes, sizeof(*places)));

	for (uint32_t i = 0; i < image->n_nodes; i++)
		places[i].fd = -1;
	places[IMAGE_ROOT].fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (places[IMAGE_ROOT].fd < 0)
		fail("open", path);
	store_dir(image, IMAGE_ROOT, places);
	for (uint32_t i = 0; i < image->n_nodes; i++) {
		if (places[i].fd >= 0)
			close(places[i].fd);
	}
	free(places);
}

/* ---- from a directory ---- */

struct loading {
	struct image *image;
	ino_t *ino; /* of each node */
};

static uint32_t add_loaded(struct loading *l, const struct stat *st)
{
	uint32_t node = image_add_node(l->image, S_ISDIR(st->st_mode));

	l->ino = need_memory(reallocarray(l->ino, l->image->n_nodes, sizeof(*l->ino)));
	l->ino[node] = st->st_ino;
	return node;
}

static void load_file(struct loading *l, uint32_t node, int fd, uint64_t size_bytes)
{
	uint8_t *data = need_memory(malloc(size_bytes + 1));

	if (fd < 0 || pread(fd, data, size_bytes, 0) != (ssize_t)size_bytes)
		fail("read", "a file");
	image_write(l->image, node, data, size_bytes, 0);
	free(data);
	close(fd);
}

static void load_dir(struct loading *l, uint32_t number, int fd);

static void load_one(struct loading *l, uint32_t dir, int dirfd, const char *name)
{
	struct stat st;
	uint32_t node;
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		fail("open", name);
	for (node = 1; node < l->image->n_nodes; node++)
		if (l->ino[node] == st.st_ino) {
			image_link(l->image, dir, name, node);
			close(fd);
			return;
		}
	node = add_loaded(l, &st);
	image_link(l->image, dir, name, node);
	if (S_ISDIR(st.st_mode))
		load_dir(l, node, fd);
	else
		load_file(l, node, fd, (uint64_t)st.st_size);
}

/* Takes over fd. */
static void load_dir(struct loading *l, uint32_t number, int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;

	if (!dir)
		fail("list", "directory");
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			load_one(l, number, fd, entry->d_name);
	closedir(dir);
}

struct image *image_load(const char *path)
{
	struct loading l = {.image = image_new()};

	l.ino = need_memory(calloc(l.image->n_nodes, sizeof(*l.ino)));
	load_dir(&l, IMAGE_ROOT, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	free(l.ino);
	return l.image;
}

static void clear_dir(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;

	if (!dir)
		fail("list", "directory");
	while ((entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (unlinkat(dirfd(dir), name, 0) == 0)
			continue;
		clear_dir(openat(dirfd(dir), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		if (unlinkat(dirfd(dir), name, AT_REMOVEDIR) < 0)
			fail("remove", name);
	}
	closedir(dir);
}

void image_clear(const char *path)
{
	clear_dir(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}
