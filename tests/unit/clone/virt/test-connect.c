/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections that are refused before anything is connected, and libvirtd that is not there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clone/virt/virt.h"

static void refused(const char *uri, const char *why)
{
	struct virt *virt = NULL;
	struct err err = {0};

	assert_int_equal(virt_connect(uri, &virt, &err), -EOPNOTSUPP);
	assert_null(virt);
	assert_non_null(strstr(err.message, uri));
	assert_non_null(strstr(err.message, why));
	assert_true(err.hint[0]);
	/* The same from the environment, where none is asked for. */
	setenv("LIBVIRT_DEFAULT_URI", uri, 1);
	assert_int_equal(virt_connect(NULL, &virt, &err), -EOPNOTSUPP);
	unsetenv("LIBVIRT_DEFAULT_URI");
}

static void test_other_hosts(void **state)
{
	refused("qemu+ssh://host/system", "another host");
	refused("qemu+tls://localhost/system", "another host");
	refused("qemu+tcp:///system", "another host");
	refused("qemu+unix://host/system", "another host");
	refused("qemu://host/system", "another host");
	refused("QEMU+SSH://host/system", "another host");
}

static void test_other_drivers(void **state)
{
	refused("xen:///system", "not libvirt's qemu driver");
	refused("test:///default", "not libvirt's qemu driver");
	refused("vbox:///session", "not libvirt's qemu driver");
	refused("qemux:///system", "not libvirt's qemu driver");
}

static void test_libvirtd_is_not_there(void **state)
{
	static const char uri[] = "qemu+unix:///system?socket=/nonexistent/libvirt-sock";
	struct virt *virt;
	struct err err = {0};

	assert_int_equal(virt_connect(uri, &virt, &err), -ECONNREFUSED);
	assert_int_equal(err_exit_status(err.code), EXIT_UNREACHABLE);
	assert_true(err.hint[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_other_hosts),
		cmocka_unit_test(test_other_drivers),
		cmocka_unit_test(test_libvirtd_is_not_there),
	};

	unsetenv("LIBVIRT_DEFAULT_URI");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
