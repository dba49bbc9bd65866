/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which paths are disks of a mount, and which running domains use them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clone/plan/users.h"

static void paths(void **state)
{
	static const struct {
		const char *path;
		const char *clone, *target; /* NULL: no disk of the mount */
	} row[] = {
		{"/m/web/vda.raw", "web", "vda"},
		{"/m/a b/sdaa.raw", "a b", "sdaa"},
		{"/m/web/.raw", NULL, NULL},
		{"/m/web/vda.qcow2", NULL, NULL},
		{"/m/web/vda.raw/x", NULL, NULL},
		{"/m/web/sub/vda.raw", NULL, NULL},
		{"/m//vda.raw", NULL, NULL},
		{"/m/vda.raw", NULL, NULL},
		{"/m", NULL, NULL},
		{"/mnt/web/vda.raw", NULL, NULL}, /* a prefix of text, not of the path */
		{"/m/web/0123456789012345678901234567890123.raw", NULL, NULL},
		{"", NULL, NULL},
	};
	char clone[STORE_NAME_MAX + 1];
	char target[STORE_TARGET_MAX + 1];

	(void)state;
	for (unsigned int i = 0; i < sizeof(row) / sizeof(*row); i++) {
		bool is = users_split_path("/m", row[i].path, clone, target);

		assert_int_equal(is, row[i].clone != NULL);
		if (!is)
			continue;
		assert_string_equal(clone, row[i].clone);
		assert_string_equal(target, row[i].target);
	}
}

#define XML(name, path)                                                                            \
	"<domain type='kvm'><name>" name "</name>"                                                 \
	"<uuid>11111111-2222-4333-8444-555555555555</uuid><memory>1024</memory>"                   \
	"<os><type>hvm</type></os><devices>"                                                       \
	"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"                         \
	"<source file='" path "'/><target dev='vda'/></disk>"                                      \
	"<disk type='file' device='cdrom'><target dev='sda'/></disk>"                              \
	"</devices></domain>"

static void running_only(void **state)
{
	static char name[3][8] = {"on", "off", "other"};
	static char xml[3][600] = {XML("on", "/m/web/vda.raw"), XML("off", "/m/off/vda.raw"),
		XML("other", "/images/vda.raw")};
	struct virt_domain domains[3] = {
		{.name = name[0], .active = true, .xml = xml[0]},
		{.name = name[1], .active = false, .xml = xml[1]},
		{.name = name[2], .active = true, .xml = xml[2]},
	};
	struct disk_user *users;
	uint32_t count;

	(void)state;
	assert_int_equal(users_find(domains, 3, "/m", &users, &count), 0);
	assert_int_equal(count, 1);
	assert_string_equal(users[0].domain, "on");
	assert_string_equal(users[0].clone, "web");
	assert_string_equal(users[0].target, "vda");
	users_free(users, count);
	assert_int_equal(users_find(domains, 3, "/elsewhere", &users, &count), 0);
	assert_int_equal(count, 0);
	users_free(users, count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths),
		cmocka_unit_test(running_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
