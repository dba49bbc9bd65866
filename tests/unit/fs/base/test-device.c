/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bases on real block devices, and on file systems mounted in another order (root, loop devices). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/base.h"
#include "fs/base/chain.h"
#include "fs/base/origin.h"
#include "fs/base/raw.h"
#include "tests/lib/rawbase.h"
#include "tests/lib/scratch.h"

#define SIZE (2 * 1024 * 1024 + 512)
#define LOOPS 4

static char content[SIZE];
static char file[SCRATCH_PATH_MAX];
static char mounted[SCRATCH_PATH_MAX];
static char loops[LOOPS][32];
static unsigned int loop_count;

static int set_up(void **state)
{
	scratch_make();
	scratch_path(file, "device.img");
	scratch_path(mounted, "mnt");
	scratch_fill(content, SIZE, 1);
	scratch_file(file, content, SIZE, SIZE);
	return mkdir(mounted, 0755);
}

static void detach(unsigned int i)
{
	if (loops[i][0] != '\0')
		scratch_run(NULL, "losetup -d %s", loops[i]);
	loops[i][0] = '\0';
}

static int tear_down(void **state)
{
	umount2(mounted, MNT_DETACH);
	for (unsigned int i = 0; i < loop_count; i++)
		detach(i);
	loop_count = 0;
	scratch_remove();
	return 0;
}

/* A new loop device on name, or the test is skipped; its index. */
static unsigned int attach(const char *name)
{
	unsigned int i = loop_count;
	char *output;

	if (geteuid() != 0)
		skip();
	if (scratch_run(&output, "losetup -f --show %s 2>/dev/null", name) != 0) {
		free(output);
		skip();
	}
	assert_true(i < LOOPS && strlen(output) < sizeof(loops[i]));
	output[strcspn(output, "\n")] = '\0';
	strcpy(loops[i], output);
	free(output);
	loop_count++;
	return i;
}

static struct base *hold(const char *path, const char *identity)
{
	struct base *base = NULL;
	struct err err = {0};

	if (rawbase_hold(path, identity, &base, &err) < 0)
		fail_msg("%s", err.message);
	return base;
}

static char *identify(const char *path)
{
	struct base *base = hold(path, NULL);
	char *text = strdup(base_identity(base));

	base_release(base);
	return text;
}

static void expect_refused(const char *path, const char *identity, int code, const char *words)
{
	struct err err = {0};
	struct base *base;

	assert_int_equal(rawbase_hold(path, identity, &base, &err), code);
	assert_non_null(strstr(err.message, path));
	if (!strstr(err.message, words))
		fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

static void test_read(void **state)
{
	const char *path = loops[attach(file)];
	struct base *base = hold(path, NULL);
	static char buf[SIZE + 4096];
	struct base_info info;
	uint64_t run;

	base_info(base, &info);
	assert_int_equal(info.size_bytes, SIZE);
	assert_int_equal(info.allocated_bytes, SIZE);
	assert_false(info.leased);
	assert_int_equal(base_read(base, buf, sizeof(buf), 0, false), 0);
	assert_memory_equal(buf, content, SIZE);
	assert_int_equal(buf[SIZE], 0);
	assert_int_equal(base_read(base, buf, 4096, 512, true), 0);
	assert_false(base_hole(base, 0, UINT64_C(1) << 40, &run));
	assert_int_equal(run, SIZE);
	base_release(base);
}

/* The node is made anew at each boot, its number may be another one. */
static void test_another_node(void **state)
{
	unsigned int first = attach(file);
	char *identity = identify(loops[first]);
	char node[SCRATCH_PATH_MAX];
	struct base *base;
	struct base *again;
	struct base_info info;
	struct stat st;

	assert_int_equal(stat(loops[first], &st), 0);
	assert_int_equal(mknod(scratch_path(node, "node"), S_IFBLK | 0600, st.st_rdev), 0);
	base = hold(loops[first], identity);
	again = hold(node, identity);
	/* One device, and each of them says by which name. */
	assert_ptr_equal(base->files[0], again->files[0]);
	base_info(base, &info);
	assert_string_equal(info.path, loops[first]);
	base_info(again, &info);
	assert_string_equal(info.path, node);
	base_release(base);
	base_release(again);
	free(identity);
}

static void test_another_number(void **state)
{
	unsigned int first = attach(file);
	char *identity = identify(loops[first]);
	unsigned int second = attach(file);

	detach(first);
	base_release(hold(loops[second], identity));
	free(identity);
}

static void write_to(const char *path, uint64_t off)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, "!", 1, (off_t)off), 1);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static bool changed(struct base *base)
{
	struct base_info info;

	base_info(base, &info);
	return info.state == BASE_CHANGED;
}

static void test_written(void **state)
{
	const char *path = loops[attach(file)];
	struct base *base = hold(path, NULL);
	char *identity = strdup(base_identity(base));

	write_to(path, 0);
	WAIT_UNTIL(changed(base));
	assert_int_equal(base_read(base, &(char){0}, 1, 4096, false), -EIO);
	expect_refused(path, identity, -ESTALE, "its content is another");
	base_release(base);
	free(identity);
}

static void test_resized(void **state)
{
	unsigned int loop = attach(file);
	char *identity = identify(loops[loop]);

	assert_int_equal(truncate(file, SIZE + 512), 0);
	assert_int_equal(scratch_run(NULL, "losetup -c %s", loops[loop]), 0);
	expect_refused(loops[loop], identity, -ESTALE, "bytes");
	free(identity);
}

static void test_file_in_place_of_device(void **state)
{
	char *of_file = identify(file);
	unsigned int loop = attach(file);
	char *of_device = identify(loops[loop]);

	/* The loop driver has it open for writing: no base of its own. */
	expect_refused(file, NULL, -EBUSY, "open for writing");
	expect_refused(loops[loop], of_file, -ESTALE, "a device, not the file");
	detach(loop);
	expect_refused(file, of_device, -ESTALE, "a file, not the device");
	free(of_device);
	free(of_file);
}

static void make_fs(const char *kind)
{
	if (scratch_run(NULL, "command -v mkfs.%s >/dev/null && truncate -s 320M %s && "
			      "mkfs.%s -q %s >/dev/null 2>&1",
		    kind, file, kind, file) != 0)
		skip();
}

static void test_mounted(void **state)
{
	unsigned int loop;

	make_fs("ext4");
	loop = attach(file);
	if (mount(loops[loop], mounted, "ext4", 0, NULL) < 0)
		skip();
	expect_refused(loops[loop], NULL, -EBUSY, "in use by the host");
	assert_int_equal(umount(mounted), 0);
	base_release(hold(loops[loop], NULL));
}

/* Another device number below the same file system is no change of the file. */
static void remount_in_another_order(const char *kind)
{
	char inside[SCRATCH_PATH_MAX + 16];
	unsigned int loop;
	unsigned int other;
	char *identity;
	struct raw raw;

	make_fs(kind);
	loop = attach(file);
	if (mount(loops[loop], mounted, kind, 0, NULL) < 0)
		skip();
	snprintf(inside, sizeof(inside), "%s/base.raw", mounted);
	scratch_file(inside, content, SIZE, SIZE);
	identity = identify(inside);
	assert_int_equal(raw_open(inside, &raw, NULL), 0);
	assert_true(origin_file_system(raw.fd) != 0);
	close(raw.fd);
	assert_int_equal(umount(mounted), 0);
	other = attach(file);
	detach(loop);
	assert_int_equal(mount(loops[other], mounted, kind, 0, NULL), 0);
	base_release(hold(inside, identity));
	write_to(inside, SIZE / 2);
	expect_refused(inside, identity, -ESTALE, "has changed");
	free(identity);
}

static void test_remount_ext4(void **state)
{
	remount_in_another_order("ext4");
}

static void test_remount_xfs(void **state)
{
	remount_in_another_order("xfs");
}

static void test_remount_btrfs(void **state)
{
	remount_in_another_order("btrfs");
}

/* The machine's own disks: whatever id they have is one line of print. */
static void test_device_ids(void **state)
{
	char id[IDENTITY_DEVICE_MAX];
	struct stat st;

	if (stat("/", &st) < 0 || major(st.st_dev) == 0)
		skip();
	origin_device_id(st.st_dev, id);
	for (const char *p = id; *p; p++)
		assert_in_range(*p, '!', '~');
	origin_device_id(makedev(7, 250), id);
	assert_string_equal(id, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_node, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_number, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_resized, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_in_place_of_device, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mounted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_remount_ext4, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_remount_xfs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_remount_btrfs, set_up, tear_down),
		cmocka_unit_test(test_device_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
