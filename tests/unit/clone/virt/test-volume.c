/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pools and volumes, of libvirt's test driver: inside this process, no daemon. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clone/virt/connection.h"
#include "clone/virt/fault.h"
#include "clone/virt/virt.h"
#include "fs/util/cleanup.h"

#define POOL "default-pool" /* every new connection to the test driver has it */

static struct virt virt = {.uri = (char *)"test:///default"};

static int setup(void **state)
{
	virt_fault_silence();
	virt.conn = virConnectOpen(virt.uri);
	return virt.conn ? 0 : -1;
}

static int teardown(void **state)
{
	return virConnectClose(virt.conn) < 0 ? -1 : 0;
}

static void make_volume(const char *xml)
{
	AUTO_POOL virStoragePoolPtr pool = virStoragePoolLookupByName(virt.conn, POOL);
	AUTO_VOLUME virStorageVolPtr volume = virStorageVolCreateXML(pool, xml, 0);

	assert_non_null(volume);
}

static void test_path(void **state)
{
	AUTO_FREE char *path = NULL;
	struct err err = {0};

	make_volume("<volume><name>web</name><capacity>1048576</capacity></volume>");
	assert_int_equal(virt_volume_path(&virt, POOL, "web", &path, &err), 0);
	assert_string_equal(path, "/default-pool/web");
}

static void refused(const char *pool, const char *volume, const char *why, const char *hint)
{
	char *path = NULL;
	struct err err = {0};

	assert_int_equal(virt_volume_path(&virt, pool, volume, &path, &err), -ESTALE);
	assert_int_equal(err_exit_status(err.code), EXIT_BASE_CHANGED);
	assert_null(path);
	assert_non_null(strstr(err.message, why));
	assert_non_null(strstr(err.hint, hint));
}

static void test_missing(void **state)
{
	refused("nowhere", "web", "storage pool nowhere: no such pool", "pool-list --all");
	refused(POOL, "nothing", "volume nothing of pool " POOL, "pool-refresh " POOL);
}

static void test_inactive(void **state)
{
	AUTO_POOL virStoragePoolPtr pool = virStoragePoolDefineXML(virt.conn,
		"<pool type='dir'><name>asleep</name><target><path>/asleep</path></target></pool>", 0);

	assert_non_null(pool);
	refused("asleep", "web", "asleep is not active", "pool-start asleep");
	assert_int_equal(virStoragePoolUndefine(pool), 0);
}

static void test_at(void **state)
{
	AUTO_FREE char *xml = NULL;
	struct err err = {0};

	make_volume("<volume><name>top</name><capacity>1048576</capacity></volume>");
	assert_int_equal(virt_volume_at(&virt, "/default-pool/nothing", &xml, &err), 0);
	assert_null(xml);
	assert_int_equal(virt_volume_at(&virt, "/default-pool/top", &xml, &err), 1);
	assert_non_null(strstr(xml, "<name>top</name>"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_inactive),
		cmocka_unit_test(test_at),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
