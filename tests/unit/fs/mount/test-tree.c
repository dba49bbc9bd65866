/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree: node ids, names, listing while it changes, pins and opens. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fs/mount/tree.h"

static struct mount_clone *add(struct tree *tree, const char *name, uint64_t node, uint32_t n_disks)
{
	static const char *const names[] = {"vda.raw", "vdb.raw", "vdc.raw"};
	struct mount_new_disk disks[3] = {0};
	struct mount_clone *clone = NULL;

	for (uint32_t i = 0; i < n_disks; i++)
		disks[i] = (struct mount_new_disk){.name = names[i], .number = 3 * (i + 1)};
	assert_int_equal(tree_add(tree, name, node, 1000, disks, n_disks, &clone, NULL), 0);
	return clone;
}

static void drop(struct tree *tree, struct mount_clone *clone)
{
	struct mount_disk *busy;

	assert_int_equal(tree_take_out(tree, clone, &busy), 0);
	tree_wait_unpinned(clone);
	tree_clone_free(clone);
}

static void test_ids_come_from_persistent_numbers(void **state)
{
	struct tree tree;
	struct tree_dir dir;
	struct mount_disk *disk;
	struct mount_clone *clone;

	tree_init(&tree);
	clone = add(&tree, "web", MOUNT_NODE_MAX, 2);
	assert_int_equal(tree_dir_lookup(&tree, "web", &dir), 0);
	assert_int_equal(dir.ino, MOUNT_NODE_MAX << 16);
	assert_int_equal(dir.created_sec, 1000);
	disk = tree_disk_lookup(&tree, dir.ino, "vdb.raw");
	assert_non_null(disk);
	assert_int_equal(disk->ino, (MOUNT_NODE_MAX << 16) + 6);
	tree_disk_unpin(disk);
	assert_ptr_equal(tree_disk_pin(&tree, disk->ino), disk);
	tree_disk_unpin(disk);
	/* Neither a directory's number nor an unused one is a disk. */
	assert_null(tree_disk_pin(&tree, dir.ino));
	assert_null(tree_disk_pin(&tree, dir.ino + 1));
	assert_null(tree_disk_pin(&tree, TREE_ROOT));
	assert_int_equal(tree_dir(&tree, disk->ino, &dir), -ENOENT);
	drop(&tree, clone);
	tree_release(&tree);
}

static void test_names_and_nodes_are_unique(void **state)
{
	const struct mount_new_disk twice[2] = {
		{.name = "a", .number = 1}, {.name = "b", .number = 1}};
	const struct mount_new_disk zero = {.name = "a"};
	const struct mount_new_disk large = {.name = "a", .number = MOUNT_DISKS_MAX + 1};
	struct mount_clone *clone, *other = NULL;
	struct err err = {0};
	struct tree tree;

	tree_init(&tree);
	clone = add(&tree, "web", 5, 1);
	assert_int_equal(tree_add(&tree, "web", 6, 0, NULL, 0, &other, &err), -EEXIST);
	assert_int_equal(tree_add(&tree, "other", 5, 0, NULL, 0, &other, &err), -EEXIST);
	assert_int_equal(tree_add(&tree, "other", 0, 0, NULL, 0, &other, &err), -EUCLEAN);
	assert_int_equal(tree_add(&tree, "other", MOUNT_NODE_MAX + 1, 0, NULL, 0, &other, &err),
		-EUCLEAN);
	assert_int_equal(tree_add(&tree, "other", 7, 0, twice, 2, &other, &err), -EUCLEAN);
	assert_int_equal(tree_add(&tree, "other", 7, 0, &zero, 1, &other, &err), -EUCLEAN);
	assert_int_equal(tree_add(&tree, "other", 7, 0, &large, 1, &other, &err), -EUCLEAN);
	assert_null(other);
	drop(&tree, clone);
	drop(&tree, add(&tree, "web", 5, 1));
	tree_release(&tree);
}

static void test_listing_goes_on_while_clones_come_and_go(void **state)
{
	enum { N = 50 };
	struct mount_clone *clone[N];
	struct tree_entry entry;
	uint64_t cookie = 0;
	struct tree tree;
	char name[16];
	int seen = 0;

	tree_init(&tree);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		clone[i] = add(&tree, name, 10 + 10 * (uint64_t)((i * 7) % N), 0);
	}
	while (tree_next(&tree, TREE_ROOT, cookie, &entry)) {
		assert_true(entry.ino > cookie);
		assert_true(entry.is_dir);
		cookie = entry.ino;
		/* The entry the listing stands at vanishes, one behind it appears. */
		if (++seen == 20) {
			for (int i = 0; i < N; i++)
				if (clone[i] && clone[i]->ino == cookie) {
					drop(&tree, clone[i]);
					clone[i] = NULL;
				}
			drop(&tree, add(&tree, "late", 3, 0));
		}
	}
	assert_int_equal(seen, N);
	for (int i = 0; i < N; i++)
		if (clone[i])
			drop(&tree, clone[i]);
	tree_release(&tree);
}

static void test_disks_are_listed_by_number(void **state)
{
	const struct mount_new_disk disks[] = {
		{.name = "z", .number = 9}, {.name = "y", .number = 2}, {.name = "x", .number = 500}};
	struct tree_entry entry;
	struct mount_clone *clone;
	struct tree tree;

	tree_init(&tree);
	assert_int_equal(tree_add(&tree, "c", 1, 0, disks, 3, &clone, NULL), 0);
	assert_true(tree_next(&tree, clone->ino, 2, &entry));
	assert_string_equal(entry.name, "y");
	assert_true(tree_next(&tree, clone->ino, entry.ino, &entry));
	assert_string_equal(entry.name, "z");
	assert_true(tree_next(&tree, clone->ino, entry.ino, &entry));
	assert_string_equal(entry.name, "x");
	assert_false(entry.is_dir);
	assert_false(tree_next(&tree, clone->ino, entry.ino, &entry));
	drop(&tree, clone);
	tree_release(&tree);
}

static void test_an_open_disk_keeps_its_clone(void **state)
{
	struct mount_disk *disk, *busy = NULL;
	struct mount_clone *clone;
	char name[64];
	struct tree tree;

	tree_init(&tree);
	clone = add(&tree, "web", 5, 2);
	disk = tree_disk_pin_open(&tree, clone->ino + 6);
	tree_disk_unpin(disk);
	assert_int_equal(tree_take_out(&tree, clone, &busy), -EBUSY);
	assert_ptr_equal(busy, disk);
	assert_true(tree_any_open(&tree, name, sizeof(name)));
	assert_string_equal(name, "web/vdb.raw");
	assert_false(tree_wait_closed(&tree, &disk->opens, 1));
	tree_disk_closed(disk);
	assert_true(tree_wait_closed(&tree, &tree.opens, 1));
	assert_false(tree_any_open(&tree, name, sizeof(name)));
	drop(&tree, clone);
	tree_release(&tree);
}

struct user {
	struct tree *tree;
	uint64_t ino;
};

/* Use the disk until it is gone. */
static void *use(void *arg)
{
	const struct user *user = arg;
	struct mount_disk *disk;

	while ((disk = tree_disk_pin(user->tree, user->ino)))
		tree_disk_unpin(disk);
	return NULL;
}

static void test_removing_waits_for_users(void **state)
{
	struct tree tree;

	tree_init(&tree);
	for (int round = 0; round < 200; round++) {
		struct mount_clone *clone = add(&tree, "web", 5, 1);
		struct user user = {.tree = &tree, .ino = clone->ino + 3};
		pthread_t thread[2];

		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, use, &user), 0);
		drop(&tree, clone);
		for (int i = 0; i < 2; i++)
			pthread_join(thread[i], NULL);
	}
	tree_release(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids_come_from_persistent_numbers),
		cmocka_unit_test(test_names_and_nodes_are_unique),
		cmocka_unit_test(test_listing_goes_on_while_clones_come_and_go),
		cmocka_unit_test(test_disks_are_listed_by_number),
		cmocka_unit_test(test_an_open_disk_keeps_its_clone),
		cmocka_unit_test(test_removing_waits_for_users),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
