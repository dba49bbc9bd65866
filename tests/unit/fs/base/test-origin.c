/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stable ids of devices, from a made-up /sys and /dev. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/origin.h"
#include "tests/lib/scratch.h"

static int set_up(void **state)
{
	scratch_make();
	return 0;
}

static int tear_down(void **state)
{
	scratch_remove();
	return 0;
}

/* DIR/sys/NAME says text; its folders are made. */
static void say(const char *name, const char *text)
{
	assert_int_equal(scratch_run(NULL, "f=%s/sys/%s; mkdir -p ${f%%/*} && printf '%%s' '%s' > $f",
				 scratch_dir(), name, text),
		0);
}

/* As the kernel does: a link in dev/block to the device's folder. */
static void link_device(const char *number, const char *folder)
{
	assert_int_equal(scratch_run(NULL, "d=%s/sys; mkdir -p $d && cd $d && mkdir -p dev/block %s && "
					   "ln -s ../../%s dev/block/%s",
				 scratch_dir(), folder, folder, number),
		0);
}

static void expect_id(unsigned int minor_number, const char *expected)
{
	char id[IDENTITY_DEVICE_MAX];

	origin_device_id_below(scratch_dir(), makedev(8, minor_number), id);
	assert_string_equal(id, expected);
}

static void test_nothing(void **state)
{
	expect_id(0, "");
	link_device("8:0", "block/sda");
	expect_id(0, "");
	say("block/sda/serial", "");
	expect_id(0, "");
	say("block/sda/serial", "\n");
	expect_id(0, "");
}

static void test_kinds(void **state)
{
	link_device("8:0", "block/sda");
	say("block/sda/device/wwid", "naa.5000c500a1b2c3d4\n");
	expect_id(0, "naa.5000c500a1b2c3d4");
	link_device("8:1", "block/nvme0n1");
	say("block/nvme0n1/wwid", "eui.0025385b71b00f2a\n");
	expect_id(1, "eui.0025385b71b00f2a");
	link_device("8:2", "block/vda");
	say("block/vda/serial", "QM00001");
	expect_id(2, "QM00001");
	link_device("8:3", "block/dm-0");
	say("block/dm-0/dm/uuid", "LVM-abcDEF\n");
	expect_id(3, "LVM-abcDEF");
}

/* A partition is its disk's, with its number; not the disk itself. */
static void test_partition(void **state)
{
	link_device("8:0", "block/sda");
	link_device("8:3", "block/sda/sda3");
	say("block/sda/device/wwid", "naa.1\n");
	say("block/sda/sda3/partition", "3\n");
	expect_id(0, "naa.1");
	expect_id(3, "naa.1-part3");
}

/* Blanks and what is no ASCII become '_', and length has its limit. */
static void test_odd_text(void **state)
{
	char id[IDENTITY_DEVICE_MAX];
	char text[2 * IDENTITY_DEVICE_MAX];

	link_device("8:0", "block/sda");
	say("block/sda/wwid", "t10.ATA  \t\303\244 x\nsecond line");
	expect_id(0, "t10.ATA______x");
	memset(text, 'w', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	say("block/sda/wwid", text);
	origin_device_id_below(scratch_dir(), makedev(8, 0), id);
	assert_int_equal(strlen(id), IDENTITY_DEVICE_MAX - 1);
	link_device("8:1", "block/sda/sda1");
	say("block/sda/sda1/partition", "1");
	expect_id(1, ""); /* too long with its number: better none than a cut one */
}

/* What udev says counts where the kernel says nothing: the smallest name. */
static void test_by_id(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(scratch_run(NULL, "cd %s && mkdir -p dev/disk/by-id && cd dev && "
					   "mknod sda b 8 0 && mknod sdb b 8 16 && cd disk/by-id && "
					   "ln -s ../../sda wwn-0x1 && ln -s ../../sda ata-B && "
					   "ln -s ../../sdb ata-A && ln -s ../../gone ata-0",
				 scratch_dir()),
		0);
	expect_id(0, "ata-B");
	expect_id(16, "ata-A");
	expect_id(1, "");
	link_device("8:0", "block/sda");
	say("block/sda/wwid", "naa.1");
	expect_id(0, "naa.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_kinds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_partition, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_odd_text, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_by_id, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
