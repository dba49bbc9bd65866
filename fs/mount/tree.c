/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Clones, disks and node ids on the mount: see tree.h. */
#include "fs/mount/tree.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/cleanup.h"

#define NODE_SHIFT 16

static void cleanup_rwlock(pthread_rwlock_t **lock)
{
	pthread_rwlock_unlock(*lock);
}

static pthread_rwlock_t *read_lock(pthread_rwlock_t *lock)
{
	pthread_rwlock_rdlock(lock);
	return lock;
}

static pthread_rwlock_t *write_lock(pthread_rwlock_t *lock)
{
	pthread_rwlock_wrlock(lock);
	return lock;
}

#define SCOPED_READ(lock)                                                                          \
	AUTO(cleanup_rwlock) __attribute__((unused)) pthread_rwlock_t *held_ = read_lock(lock)
#define SCOPED_WRITE(lock)                                                                         \
	AUTO(cleanup_rwlock) __attribute__((unused)) pthread_rwlock_t *held_ = write_lock(lock)

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct mount_clone *)a)->name, ((const struct mount_clone *)b)->name);
}

/* Index of the first slot whose node is at least node. */
static uint32_t slot_from_locked(const struct tree *tree, uint64_t node)
{
	uint32_t low = 0, high = tree->n_slots;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (tree->slots[middle].node < node)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct mount_clone *clone_of_locked(const struct tree *tree, uint64_t ino)
{
	uint64_t node = ino >> NODE_SHIFT;
	uint32_t i = slot_from_locked(tree, node);

	return i < tree->n_slots && tree->slots[i].node == node ? tree->slots[i].clone : NULL;
}

static struct mount_disk *disk_of_locked(const struct tree *tree, uint64_t ino)
{
	const struct mount_clone *clone = clone_of_locked(tree, ino);

	for (uint32_t i = 0; clone && i < clone->n_disks; i++)
		if (clone->disks[i].ino == ino)
			return &clone->disks[i];
	return NULL;
}

static struct mount_clone *clone_named_locked(const struct tree *tree, const char *name)
{
	const struct mount_clone wanted = {.name = (char *)(uintptr_t)name};
	struct mount_clone *const *found = tfind(&wanted, &tree->by_name, by_name);

	return found ? *found : NULL;
}

void tree_init(struct tree *tree)
{
	pthread_rwlockattr_t writers_first;
	pthread_condattr_t monotonic;

	*tree = (struct tree){0};
	pthread_rwlockattr_init(&writers_first);
	pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&tree->lock, &writers_first);
	pthread_rwlockattr_destroy(&writers_first);
	pthread_mutex_init(&tree->wait_lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&tree->unused, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void tree_release(struct tree *tree)
{
	pthread_cond_destroy(&tree->unused);
	pthread_mutex_destroy(&tree->wait_lock);
	pthread_rwlock_destroy(&tree->lock);
	free(tree->slots);
}

static int init_disk(struct mount_clone *clone, struct mount_disk *disk,
	const struct mount_new_disk *from)
{
	pthread_mutex_init(&disk->load_lock, NULL);
	pthread_cond_init(&disk->changed, NULL);
	pthread_mutex_init(&disk->attr_lock, NULL);
	disk->clone = clone;
	disk->ino = clone->ino + from->number;
	disk->ctx = from->ctx;
	disk->attr = from->attr;
	disk->changed_at.tv_sec = clone->created_sec;
	disk->name = strdup(from->name);
	return disk->name ? 0 : -ENOMEM;
}

static int new_clone(struct tree *tree, const char *name, uint64_t node, int64_t created_sec,
	const struct mount_new_disk *disks, uint32_t n_disks, struct mount_clone **ret_clone)
{
	struct mount_clone *clone = calloc(1, sizeof(*clone));
	int rc = 0;

	if (!clone)
		return -ENOMEM;
	clone->tree = tree;
	clone->ino = node << NODE_SHIFT;
	clone->created_sec = created_sec;
	clone->name = strdup(name);
	clone->disks = calloc(n_disks ? n_disks : 1, sizeof(*clone->disks));
	if (!clone->name || !clone->disks)
		rc = -ENOMEM;
	while (rc == 0 && clone->n_disks < n_disks) {
		rc = init_disk(clone, &clone->disks[clone->n_disks], &disks[clone->n_disks]);
		clone->n_disks++;
	}
	if (rc < 0) {
		tree_clone_free(clone);
		return rc;
	}
	*ret_clone = clone;
	return 0;
}

void tree_clone_free(struct mount_clone *clone)
{
	if (!clone)
		return;
	for (uint32_t i = 0; i < clone->n_disks; i++) {
		pthread_cond_destroy(&clone->disks[i].changed);
		pthread_mutex_destroy(&clone->disks[i].load_lock);
		pthread_mutex_destroy(&clone->disks[i].attr_lock);
		free(clone->disks[i].name);
	}
	free(clone->disks);
	free(clone->name);
	free(clone);
}

static int make_room_locked(struct tree *tree)
{
	uint32_t size = tree->size ? 2 * tree->size : 16;
	struct tree_slot *slots;

	if (tree->n_slots < tree->size)
		return 0;
	slots = reallocarray(tree->slots, size, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	tree->slots = slots;
	tree->size = size;
	return 0;
}

static int insert_locked(struct tree *tree, struct mount_clone *clone)
{
	uint64_t node = clone->ino >> NODE_SHIFT;
	uint32_t i;

	if (clone_named_locked(tree, clone->name) || clone_of_locked(tree, clone->ino))
		return -EEXIST;
	if (make_room_locked(tree) < 0 || !tsearch(clone, &tree->by_name, by_name))
		return -ENOMEM;
	i = slot_from_locked(tree, node);
	memmove(&tree->slots[i + 1], &tree->slots[i], (tree->n_slots - i) * sizeof(*tree->slots));
	tree->slots[i] = (struct tree_slot){.node = node, .clone = clone};
	tree->n_slots++;
	return 0;
}

static int check_new(const char *name, uint64_t node, const struct mount_new_disk *disks,
	uint32_t n_disks, struct err *err)
{
	if (node == 0 || node > MOUNT_NODE_MAX || strlen(name) > TREE_FILE_MAX)
		return err_set(err, -EUCLEAN, "clone %s: node number or name out of range", name);
	for (uint32_t i = 0; i < n_disks; i++) {
		uint32_t number = disks[i].number;

		if (number == 0 || number > MOUNT_DISKS_MAX ||
			strlen(disks[i].name) > TREE_FILE_MAX)
			return err_set(err, -EUCLEAN, "clone %s: disk %s: number or name out of "
				"range", name, disks[i].name);
		for (uint32_t j = 0; j < i; j++)
			if (number == disks[j].number)
				return err_set(err, -EUCLEAN, "clone %s: two disks have number %u",
					name, number);
	}
	return 0;
}

int tree_add(struct tree *tree, const char *name, uint64_t node, int64_t created_sec,
	const struct mount_new_disk *disks, uint32_t n_disks, struct mount_clone **ret_clone,
	struct err *err)
{
	struct mount_clone *clone;
	int rc = check_new(name, node, disks, n_disks, err);

	if (rc < 0)
		return rc;
	rc = new_clone(tree, name, node, created_sec, disks, n_disks, &clone);
	if (rc < 0)
		return err_sys(err, rc, "clone %s", name);
	{
		SCOPED_WRITE(&tree->lock);
		rc = insert_locked(tree, clone);
	}
	if (rc < 0) {
		tree_clone_free(clone);
		return err_set(err, rc, "clone %s: %s", name, rc == -EEXIST
			? "its name or node number is on the mount already" : strerror(-rc));
	}
	*ret_clone = clone;
	return 0;
}

int tree_take_out(struct tree *tree, struct mount_clone *clone, struct mount_disk **ret_disk)
{
	uint32_t at;
	SCOPED_WRITE(&tree->lock);

	for (uint32_t i = 0; i < clone->n_disks; i++)
		if (atomic_load(&clone->disks[i].opens) > 0) {
			*ret_disk = &clone->disks[i];
			return -EBUSY;
		}
	tdelete(clone, &tree->by_name, by_name);
	at = slot_from_locked(tree, clone->ino >> NODE_SHIFT);
	tree->n_slots--;
	memmove(&tree->slots[at], &tree->slots[at + 1],
		(tree->n_slots - at) * sizeof(*tree->slots));
	return 0;
}

/* Called with every request that ends. A waiter counts itself before it looks
 * at the number it waits for, and that number went down before we look for
 * waiters: one of the two sees the other. */
void tree_wake_waiters(struct tree *tree)
{
	if (atomic_load(&tree->waiters) == 0)
		return;
	SCOPED_LOCK(&tree->wait_lock);
	pthread_cond_broadcast(&tree->unused);
}

void tree_wait_zero(struct tree *tree, const atomic_uint *count)
{
	SCOPED_LOCK(&tree->wait_lock);

	atomic_fetch_add(&tree->waiters, 1);
	while (atomic_load(count) > 0)
		pthread_cond_wait(&tree->unused, &tree->wait_lock);
	atomic_fetch_sub(&tree->waiters, 1);
}

void tree_wait_unpinned(struct mount_clone *clone)
{
	for (uint32_t i = 0; i < clone->n_disks; i++)
		tree_wait_zero(clone->tree, &clone->disks[i].pins);
}

bool tree_wait_closed(struct tree *tree, const atomic_uint *opens, unsigned int ms)
{
	struct timespec until;
	int rc = 0;
	SCOPED_LOCK(&tree->wait_lock);

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	atomic_fetch_add(&tree->waiters, 1);
	while (atomic_load(opens) > 0 && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&tree->unused, &tree->wait_lock, &until);
	atomic_fetch_sub(&tree->waiters, 1);
	return atomic_load(opens) == 0;
}

bool tree_any_open(struct tree *tree, char *name, size_t size)
{
	SCOPED_READ(&tree->lock);

	for (uint32_t s = 0; s < tree->n_slots; s++) {
		const struct mount_clone *clone = tree->slots[s].clone;

		for (uint32_t i = 0; i < clone->n_disks; i++)
			if (atomic_load(&clone->disks[i].opens) > 0) {
				snprintf(name, size, "%s/%s", clone->name, clone->disks[i].name);
				return true;
			}
	}
	return false;
}

static struct mount_disk *pin(struct mount_disk *disk)
{
	if (disk)
		atomic_fetch_add(&disk->pins, 1);
	return disk;
}

struct mount_disk *tree_disk_pin(struct tree *tree, uint64_t ino)
{
	SCOPED_READ(&tree->lock);

	return pin(disk_of_locked(tree, ino));
}

struct mount_disk *tree_disk_pin_any(struct tree *tree, uint64_t ino)
{
	const struct mount_clone *clone;
	SCOPED_READ(&tree->lock);

	clone = clone_of_locked(tree, ino);
	if (clone && clone->ino == ino && clone->n_disks > 0)
		return pin(&clone->disks[0]);
	return pin(disk_of_locked(tree, ino));
}

struct mount_disk *tree_disk_pin_open(struct tree *tree, uint64_t ino)
{
	struct mount_disk *disk;
	SCOPED_READ(&tree->lock);

	disk = pin(disk_of_locked(tree, ino));
	if (disk) {
		atomic_fetch_add(&disk->opens, 1);
		atomic_fetch_add(&tree->opens, 1);
	}
	return disk;
}

void tree_disk_unpin(struct mount_disk *disk)
{
	struct tree *tree = disk->clone->tree;

	/* The last touch of the disk: whoever waits may free it from here on. */
	if (atomic_fetch_sub(&disk->pins, 1) == 1)
		tree_wake_waiters(tree);
}

void tree_disk_closed(struct mount_disk *disk)
{
	struct tree *tree = disk->clone->tree;

	atomic_fetch_sub(&tree->opens, 1);
	if (atomic_fetch_sub(&disk->opens, 1) == 1)
		tree_wake_waiters(tree);
}

struct mount_disk *tree_disk_lookup(struct tree *tree, uint64_t parent, const char *name)
{
	const struct mount_clone *clone;
	SCOPED_READ(&tree->lock);

	clone = clone_of_locked(tree, parent);
	for (uint32_t i = 0; clone && i < clone->n_disks; i++)
		if (strcmp(clone->disks[i].name, name) == 0)
			return pin(&clone->disks[i]);
	return NULL;
}

/* Of a clone's disks the one with the lowest inode number above ino;
 * loaded: of those that are open. */
static struct mount_disk *next_disk(const struct mount_clone *clone, uint64_t ino, bool loaded)
{
	struct mount_disk *best = NULL;

	for (uint32_t i = 0; i < clone->n_disks; i++) {
		struct mount_disk *disk = &clone->disks[i];

		if (disk->ino > ino && (!best || disk->ino < best->ino) &&
			(!loaded || atomic_load(&disk->disk)))
			best = disk;
	}
	return best;
}

struct mount_disk *tree_next_loaded(struct tree *tree, uint64_t ino)
{
	struct mount_disk *disk = NULL;
	SCOPED_READ(&tree->lock);

	for (uint32_t i = slot_from_locked(tree, ino >> NODE_SHIFT); !disk && i < tree->n_slots; i++)
		disk = next_disk(tree->slots[i].clone, ino, true);
	return pin(disk);
}

static int describe(const struct mount_clone *clone, struct tree_dir *ret_dir)
{
	if (!clone)
		return -ENOENT;
	*ret_dir = (struct tree_dir){.ino = clone->ino, .created_sec = clone->created_sec};
	return 0;
}

int tree_dir(struct tree *tree, uint64_t ino, struct tree_dir *ret_dir)
{
	const struct mount_clone *clone;
	SCOPED_READ(&tree->lock);

	if (ino == TREE_ROOT) {
		*ret_dir = (struct tree_dir){.ino = ino, .n_dirs = tree->n_slots};
		return 0;
	}
	clone = clone_of_locked(tree, ino);
	return describe(clone && clone->ino == ino ? clone : NULL, ret_dir);
}

int tree_dir_lookup(struct tree *tree, const char *name, struct tree_dir *ret_dir)
{
	SCOPED_READ(&tree->lock);

	return describe(clone_named_locked(tree, name), ret_dir);
}

static void entry(uint64_t ino, bool is_dir, const char *name, struct tree_entry *ret_entry)
{
	ret_entry->ino = ino;
	ret_entry->is_dir = is_dir;
	snprintf(ret_entry->name, sizeof(ret_entry->name), "%s", name);
}

static bool next_clone_locked(const struct tree *tree, uint64_t cookie,
	struct tree_entry *ret_entry)
{
	uint32_t i = slot_from_locked(tree, (cookie >> NODE_SHIFT) + 1);

	if (i == tree->n_slots)
		return false;
	entry(tree->slots[i].clone->ino, true, tree->slots[i].clone->name, ret_entry);
	return true;
}

bool tree_next(struct tree *tree, uint64_t dir, uint64_t cookie, struct tree_entry *ret_entry)
{
	const struct mount_clone *clone;
	const struct mount_disk *best;
	SCOPED_READ(&tree->lock);

	if (dir == TREE_ROOT)
		return next_clone_locked(tree, cookie, ret_entry);
	clone = clone_of_locked(tree, dir);
	best = clone ? next_disk(clone, cookie, false) : NULL;
	if (best)
		entry(best->ino, false, best->name, ret_entry);
	return best;
}
