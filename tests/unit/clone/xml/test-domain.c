/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The doors beside rewriting: survey, check against libvirt's answer, provenance, limits. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clone/xml/domain.h"
#include "fs/util/cleanup.h"
#include "tests/lib/golden.h"

/* text with its first `from` made `to`; caller frees. */
static char *with(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *out = NULL;

	if (!at)
		fail_msg("'%s' is not there to be changed", from);
	assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
	return out;
}

/* ---- survey and scan ---- */

static void test_survey_describes(void **state)
{
	AUTO_FREE char *in = golden_read("os-loader-nvram", ".in.xml");
	struct xml_domain *domain;

	assert_int_equal(xml_survey(in, &domain, NULL), 0);
	assert_string_equal(domain->name, "web");
	assert_string_equal(domain->uuid, "0a000000-1111-4222-8333-444444444444");
	assert_string_equal(domain->nvram, "/var/lib/libvirt/qemu/nvram/web_VARS.fd");
	assert_int_equal(domain->n_disks, 1);
	assert_string_equal(domain->disks[0].target, "vda");
	assert_string_equal(domain->disks[0].type, "file");
	assert_string_equal(domain->disks[0].device, "disk");
	assert_string_equal(domain->disks[0].format, "raw");
	assert_string_equal(domain->disks[0].source, "/var/lib/libvirt/images/web.img");
	assert_string_equal(domain->disks[0].driver, "<driver name=\"qemu\" type=\"raw\"/>");
	assert_true(domain->disks[0].cloned);
	assert_int_equal(domain->n_macs, 1);
	assert_string_equal(domain->macs[0], "52:54:00:aa:bb:01");
	xml_domain_free(domain);
}

/* Where the path stands for each type, and what is refused is described all the same. */
static void test_survey_refuses_nothing(void **state)
{
	static const struct {
		const char *golden, *source;
	} cases[] = {
		{"disk-block", "/dev/vg/data"},
		{"disk-dir", "/srv/dir"},
		{"disk-qcow2", "/srv/data.img"},
		{"disk-network", NULL},
		{"disk-volume", NULL},
		{"disk-cdrom-empty", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_FREE char *in = golden_read(cases[i].golden, ".in.xml");
		struct xml_domain *domain;

		assert_int_equal(xml_survey(in, &domain, NULL), 0);
		assert_int_equal(domain->n_disks, 2);
		if (cases[i].source)
			assert_string_equal(domain->disks[1].source, cases[i].source);
		else
			assert_null(domain->disks[1].source);
		xml_domain_free(domain);
	}
}

static void test_survey_describes_a_volume(void **state)
{
	AUTO_FREE char *in = golden_read("disk-volume", ".in.xml");
	struct xml_domain *domain;

	assert_int_equal(xml_scan(in, &domain, NULL), 0);
	assert_true(domain->disks[1].cloned);
	assert_string_equal(domain->disks[1].pool, "default");
	assert_string_equal(domain->disks[1].volume, "data.img");
	xml_domain_free(domain);
}

/* ---- chains ---- */

static void assert_image(const struct xml_image *image, const char *path, const char *format,
	const char *data)
{
	assert_string_equal(image->path, path);
	assert_string_equal(image->format, format);
	if (data)
		assert_string_equal(image->data, data);
	else
		assert_null(image->data);
}

static void test_scan_describes_a_chain(void **state)
{
	AUTO_FREE char *in = golden_read("disk-qcow2-chain", ".in.xml");
	AUTO_FREE char *beside = golden_read("disk-qcow2-data-file", ".in.xml");
	struct xml_domain *domain;

	assert_int_equal(xml_scan(in, &domain, NULL), 0);
	assert_int_equal(domain->disks[0].n_backings, 0);
	assert_false(domain->disks[0].terminated);
	assert_int_equal(domain->disks[1].n_backings, 2);
	assert_image(&domain->disks[1].backings[0], "/srv/middle.img", "qcow2", "/srv/middle.data");
	assert_image(&domain->disks[1].backings[1], "/dev/vg/data", "raw", NULL);
	assert_true(domain->disks[1].terminated);
	xml_domain_free(domain);
	assert_int_equal(xml_scan(beside, &domain, NULL), 0);
	assert_int_equal(domain->disks[1].n_backings, 0);
	assert_true(domain->disks[1].terminated);
	assert_string_equal(domain->disks[1].data, "/dev/vg/data");
	xml_domain_free(domain);
}

/* A definition that says nothing of the end leaves it to the image. */
static void test_chain_without_an_end(void **state)
{
	AUTO_FREE char *in = golden_read("disk-qcow2-chain", ".in.xml");
	AUTO_FREE char *open = with(in, "<backingStore/>", "");
	struct xml_domain *domain;

	assert_int_equal(xml_scan(open, &domain, NULL), 0);
	assert_int_equal(domain->disks[1].n_backings, 2);
	assert_false(domain->disks[1].terminated);
	xml_domain_free(domain);
}

static void test_chain_too_long(void **state)
{
	static const char link[] =
		"<backingStore type='file'><format type='raw'/><source file='/a'/>";
	static const char end[] = "</backingStore>";
	char text[XML_IMAGES_MAX * 100] = "<domain><name>x</name><devices><disk type='file'>"
					  "<source file='/top'/><target dev='vda'/>";
	struct xml_domain *domain;
	struct err err = {0};

	for (int i = 0; i <= XML_IMAGES_MAX; i++)
		strcat(text, link);
	for (int i = 0; i <= XML_IMAGES_MAX; i++)
		strcat(text, end);
	strcat(text, "</disk></devices></domain>");
	assert_int_equal(xml_survey(text, &domain, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.message, "more than 64 images"));
}

static void test_volume_backing(void **state)
{
	static const char overlay[] =
		"<volume type='file'><name>top</name><target><path>/p/top</path></target>"
		"<backingStore><path>/p/base &amp; co</path><format type='raw'/></backingStore></volume>";
	AUTO_FREE char *path = NULL;
	char *none = NULL;
	struct err err = {0};

	assert_int_equal(xml_volume_backing(overlay, &path, &err), 1);
	assert_string_equal(path, "/p/base & co");
	assert_int_equal(xml_volume_backing("<volume><name>a</name></volume>", &none, &err), 0);
	assert_int_equal(xml_volume_backing("<volume><backingStore/></volume>", &none, &err), 0);
	assert_int_equal(xml_volume_backing("<pool/>", &none, &err), -EINVAL);
	assert_null(none);
}

static void test_survey_nested_nvram(void **state)
{
	AUTO_FREE char *in = golden_read("os-nvram-nested", ".in.xml");
	struct xml_domain *domain;

	assert_int_equal(xml_survey(in, &domain, NULL), 0);
	assert_string_equal(domain->nvram, "/var/lib/libvirt/qemu/nvram/web_VARS.fd");
	xml_domain_free(domain);
}

/* ---- limits ---- */

static char *many(const char *element, int count)
{
	static const char head[] = "<domain><name>x</name><devices>";
	static const char tail[] = "</devices></domain>";
	size_t size = sizeof(head) + sizeof(tail) + strlen(element) * (size_t)count;
	char *xml = malloc(size), *end;

	assert_non_null(xml);
	end = stpcpy(xml, head);
	while (count-- > 0)
		end = stpcpy(end, element);
	stpcpy(end, tail);
	return xml;
}

static void test_counts_are_limited(void **state)
{
	static const char *const elements[] = {"<disk/>", "<interface/>"};
	static const int limits[] = {XML_DISKS_MAX, XML_NICS_MAX};

	for (int i = 0; i < 2; i++) {
		AUTO_FREE char *fits = many(elements[i], limits[i]);
		AUTO_FREE char *too_many = many(elements[i], limits[i] + 1);
		struct xml_domain *domain = NULL;
		struct err err = {0};

		assert_int_equal(xml_survey(fits, &domain, NULL), 0);
		xml_domain_free(domain);
		assert_int_equal(xml_survey(too_many, &domain, &err), -EOPNOTSUPP);
		assert_non_null(strstr(err.message, "more than 256"));
	}
}

static void test_size_is_limited(void **state)
{
	char *xml = malloc(XML_TEXT_MAX + 2);
	struct xml_domain *domain = NULL;
	struct err err = {0};

	assert_non_null(xml);
	memset(xml, ' ', XML_TEXT_MAX + 1);
	xml[XML_TEXT_MAX + 1] = '\0';
	assert_int_equal(xml_survey(xml, &domain, &err), -EINVAL);
	assert_non_null(strstr(err.message, "larger than"));
	free(xml);
}

static void test_depth_is_limited(void **state)
{
	AUTO_FREE char *xml = many("<a>", 5000);
	struct xml_domain *domain = NULL;

	assert_int_equal(xml_survey(xml, &domain, NULL), -EINVAL);
}

/* The parser must not quote the text: a display's password may be in it. */
static void test_messages_keep_secrets(void **state)
{
	static const char xml[] = "<domain><name>x</name><devices>"
				  "<graphics type='vnc' passwd='sesame&open;'/></devices></domain>";
	struct xml_domain *domain = NULL;
	struct err err = {0};

	assert_int_equal(xml_survey(xml, &domain, &err), -EINVAL);
	assert_null(strstr(err.message, "sesame"));
	assert_null(strstr(err.message, "open"));
}

/* ---- requests that do not fit ---- */

static void expect_misfit(struct golden *golden, const char *in, const char *why)
{
	char *out = NULL;
	struct err err = {0};

	assert_int_equal(xml_rewrite(in, &golden->request, &out, NULL, &err), -EINVAL);
	assert_null(out);
	if (!strstr(err.message, why))
		fail_msg("'%s' does not say '%s'", err.message, why);
}

static void test_request_must_fit(void **state)
{
	AUTO_FREE char *in = golden_read("disk-plain", ".in.xml");
	struct golden golden;
	const char *kept;

	golden_request(in, NULL, &golden);
	golden.request.n_disks--;
	expect_misfit(&golden, in, "1 disks are given for 2");
	golden.request.n_disks++;
	kept = golden.disks[1].target;
	golden.disks[1].target = "vda";
	expect_misfit(&golden, in, "2 disks are given for 2");
	golden.disks[1].target = "vdz";
	expect_misfit(&golden, in, "no such disk");
	golden.disks[1].target = kept;
	golden.request.n_macs--;
	expect_misfit(&golden, in, "0 MAC addresses are given for 1");
	golden.request.n_macs++;
	golden.request.nvram = "/x";
	expect_misfit(&golden, in, "NVRAM");
	golden.request.nvram = NULL;
	kept = golden.request.name;
	golden.request.name = "two\nlines";
	expect_misfit(&golden, in, "plain UTF-8");
	golden.request.name = "\xff\xfe";
	expect_misfit(&golden, in, "plain UTF-8");
	golden.request.name = "";
	expect_misfit(&golden, in, "cannot be a domain's name");
	golden.request.name = kept;
	golden_clear(&golden);
}

static void test_nvram_must_be_given(void **state)
{
	AUTO_FREE char *in = golden_read("os-loader-nvram", ".in.xml");
	struct golden golden;

	golden_request(in, NULL, &golden);
	free((void *)golden.request.nvram);
	golden.request.nvram = NULL;
	expect_misfit(&golden, in, "NVRAM");
	golden_clear(&golden);
}

/* ---- what libvirt made of it ---- */

static void test_check_sees_each_difference(void **state)
{
	static const struct {
		const char *from, *to, *why;
	} cases[] = {
		{"<name>web-clone1", "<name>web-clone2", "name"},
		{"<uuid>c10e", "<uuid>c10f", "uuid"},
		{"/srv/lazyclone/web-clone1/vda.raw", "/var/lib/libvirt/images/web.img", "vda"},
		{"cache=\"none\"", "cache=\"writeback\"", "cache"},
		{"io=\"native\"", "", "driver attribute io"},
		{"type=\"raw\"", "type=\"qcow2\"", "driver attribute type"},
		{"<seclabel model=\"dac\" relabel=\"no\"/>", "", "security label"},
		{"52:54:00:c1:00:01", "52:54:00:aa:bb:01", "interface"},
		{"store=\"/srv/lazyclone-store\"", "store=\"/other\"", "metadata"},
		{"<lazyclone:clone", "<lazyclone:bone", "metadata"},
		{"</devices>", "<interface type=\"user\"/></devices>", "interfaces"},
		{"</devices>", "<disk><source file=\"/x\"/><target dev=\"vdq\"/></disk></devices>",
			"writable"},
		{"</devices>", "<tpm><backend type=\"emulator\"/></tpm></devices>", "TPM"},
		{"<target dev=\"vdb\"", "<target dev=\"vdq\"", "vdb"},
	};
	AUTO_FREE char *in = golden_read("disk-plain", ".in.xml");
	AUTO_FREE char *out = golden_read("disk-plain", ".out.xml");
	struct golden golden;

	golden_request(in, NULL, &golden);
	assert_int_equal(xml_check(out, &golden.request, NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_FREE char *changed = with(out, cases[i].from, cases[i].to);
		struct err err = {0};

		assert_int_equal(xml_check(changed, &golden.request, &err), -EREMOTEIO);
		assert_int_equal(err.code, -EREMOTEIO);
		if (!strstr(err.message, cases[i].why))
			fail_msg("'%s' does not say '%s'", err.message, cases[i].why);
	}
	golden_clear(&golden);
}

static void test_check_nvram(void **state)
{
	AUTO_FREE char *in = golden_read("os-loader-nvram", ".in.xml");
	AUTO_FREE char *out = golden_read("os-loader-nvram", ".out.xml");
	AUTO_FREE char *changed = with(out, "web-clone1_VARS", "web_VARS");
	struct golden golden;

	golden_request(in, NULL, &golden);
	assert_int_equal(xml_check(out, &golden.request, NULL), 0);
	assert_int_equal(xml_check(changed, &golden.request, NULL), -EREMOTEIO);
	golden_clear(&golden);
}

static void test_check_restored_sees_each_difference(void **state)
{
	static const struct {
		const char *from, *to, *why;
	} cases[] = {
		{"/var/lib/libvirt/images/web-clone1.raw", "/srv/lazyclone/web/vda.raw", "is on"},
		{"cache=\"writeback\"", "cache=\"none\"", "cache"},
		{"type=\"raw\"", "type=\"qcow2\"", "type"},
		{"<target dev=\"vda\"", "<target dev=\"vdq\"", "not in the definition"},
		{"<source file=\"/var/lib/libvirt/images/web-clone1.raw\"/>",
			"<source file=\"/var/lib/libvirt/images/web-clone1.raw\">"
			"<seclabel model=\"dac\" relabel=\"no\"/></source>",
			"label"},
		{"<memory ",
			"<metadata><l:clone xmlns:l=\"" XML_NAMESPACE "\"/></metadata><memory ",
			"metadata"},
	};
	AUTO_FREE char *in = golden_read("restore-tuned", ".in.xml");
	AUTO_FREE char *lines = golden_read("restore-tuned", ".request");
	AUTO_FREE char *out = golden_read("restore-tuned", ".out.xml");
	struct golden golden;
	struct xml_restore_request request;

	golden_request(in, lines, &golden);
	request = (struct xml_restore_request){golden.request.n_disks, golden.disks};
	assert_int_equal(xml_check_restored(out, &request, NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO_FREE char *changed = with(out, cases[i].from, cases[i].to);
		struct err err = {0};

		assert_int_equal(xml_check_restored(changed, &request, &err), -EREMOTEIO);
		if (!strstr(err.message, cases[i].why))
			fail_msg("'%s' does not say '%s'", err.message, cases[i].why);
	}
	golden_clear(&golden);
}

/* ---- foreign text in our lines ---- */

static void test_long_names_are_cut_between_characters(void **state)
{
	/* 63 bytes of "x", then characters of two bytes each. */
	static const char xml[] =
		"<domain><name>w</name><devices><disk type='dir'><source dir='/d'/><target dev='"
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\u00e9\u00e9"
		"&#10;'/></disk></devices></domain>";
	struct xml_domain *domain = NULL;
	struct err err = {0};

	assert_int_equal(xml_scan(xml, &domain, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.message, "xxx: a writable directory"));
	assert_null(strstr(err.message, "\n"));
}

/* ---- threads ---- */

static void *rewrite_many(void *arg)
{
	const char *in = arg;
	struct golden golden;

	golden_request(in, NULL, &golden);
	for (int i = 0; i < 20; i++) {
		AUTO_FREE char *out = NULL;

		assert(xml_rewrite(in, &golden.request, &out, NULL, NULL) == 0);
		assert(xml_check(out, &golden.request, NULL) == 0);
	}
	golden_clear(&golden);
	return NULL;
}

static void test_any_thread(void **state)
{
	AUTO_FREE char *in = golden_read("real-debian", ".in.xml");
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, rewrite_many, in), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* ---- provenance ---- */

static void test_provenance_of_a_copy(void **state)
{
	AUTO_FREE char *out = golden_read("disk-plain", ".out.xml");
	AUTO_FREE char *copy = with(out, "<uuid>c10e", "<uuid>d10e");
	AUTO_FREE char *upper = with(out, "<uuid>c10e", "<uuid>C10E");
	struct xml_provenance provenance;

	assert_int_equal(xml_provenance(copy, &provenance), 0);
	assert_int_equal(xml_provenance("<volume/>", &provenance), -EINVAL);
	assert_int_equal(xml_provenance(upper, &provenance), 1);
	xml_provenance_clear(&provenance);
}

/* ---- frozen originals ---- */

/* Its own name, UUID and MAC addresses; disks as those of a clone. */
static void freeze_request(const char *in, struct xml_domain **ret_domain,
	struct xml_new_disk disks[static 2], struct xml_request *request)
{
	struct xml_domain *domain;

	assert_int_equal(xml_scan(in, &domain, NULL), 0);
	disks[0] = (struct xml_new_disk){.target = "vda", .path = "/mnt/web/vda.raw"};
	disks[1] = (struct xml_new_disk){.target = "vdb", .path = "/mnt/web/vdb.raw"};
	*request = (struct xml_request){.name = domain->name, .uuid = domain->uuid, .n_disks = 2,
		.disks = disks, .n_macs = domain->n_macs,
		.macs = (const char (*)[XML_MAC_TEXT])domain->macs, .nvram = domain->nvram,
		.frozen = true, .store = "/store", .source_name = domain->name,
		.source_uuid = domain->uuid, .created_sec = 7};
	*ret_domain = domain;
}

static void test_frozen_changes_disks_only(void **state)
{
	AUTO_FREE char *in = golden_read("disk-plain", ".in.xml");
	AUTO_FREE char *out = NULL;
	AUTO_FREE char *back = NULL;
	struct xml_provenance provenance;
	struct xml_new_disk disks[2];
	struct xml_request request;
	struct xml_restore_request restore = {2, disks};
	struct xml_domain *domain;

	freeze_request(in, &domain, disks, &request);
	assert_int_equal(xml_rewrite(in, &request, &out, NULL, NULL), 0);
	assert_int_equal(xml_check(out, &request, NULL), 0);
	assert_int_equal(xml_provenance(out, &provenance), 1);
	assert_true(provenance.frozen);
	assert_string_equal(provenance.source_name, domain->name);
	xml_provenance_clear(&provenance);
	assert_non_null(strstr(out, "<lazyclone:frozen "));
	assert_null(strstr(out, "<lazyclone:clone "));

	/* A clone of that name and UUID is another thing, and so is one that is left. */
	request.frozen = false;
	assert_int_equal(xml_check(out, &request, NULL), -EREMOTEIO);
	assert_int_equal(xml_check_restored(out, &restore, NULL), -EREMOTEIO);
	disks[0].path = "/images/web-thawed-vda.raw";
	disks[1].path = "/images/web-thawed-vdb.raw";
	assert_int_equal(xml_restore(out, &restore, &back, NULL), 0);
	assert_int_equal(xml_check_restored(back, &restore, NULL), 0);
	assert_null(strstr(back, "lazyclone"));
	xml_domain_free(domain);
}

static void test_frozen_keeps_its_uuid(void **state)
{
	AUTO_FREE char *in = golden_read("disk-plain", ".in.xml");
	struct xml_new_disk disks[2];
	struct xml_request request;
	struct xml_domain *domain;
	char *out = NULL;

	freeze_request(in, &domain, disks, &request);
	request.uuid = "d10ed10e-0000-4000-8000-000000000001";
	assert_int_equal(xml_rewrite(in, &request, &out, NULL, NULL), -EINVAL);
	assert_null(out);
	xml_domain_free(domain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_survey_describes),
		cmocka_unit_test(test_survey_refuses_nothing),
		cmocka_unit_test(test_survey_describes_a_volume),
		cmocka_unit_test(test_scan_describes_a_chain),
		cmocka_unit_test(test_chain_without_an_end),
		cmocka_unit_test(test_chain_too_long),
		cmocka_unit_test(test_volume_backing),
		cmocka_unit_test(test_survey_nested_nvram),
		cmocka_unit_test(test_counts_are_limited),
		cmocka_unit_test(test_size_is_limited),
		cmocka_unit_test(test_depth_is_limited),
		cmocka_unit_test(test_messages_keep_secrets),
		cmocka_unit_test(test_request_must_fit),
		cmocka_unit_test(test_nvram_must_be_given),
		cmocka_unit_test(test_check_sees_each_difference),
		cmocka_unit_test(test_check_nvram),
		cmocka_unit_test(test_check_restored_sees_each_difference),
		cmocka_unit_test(test_long_names_are_cut_between_characters),
		cmocka_unit_test(test_any_thread),
		cmocka_unit_test(test_provenance_of_a_copy),
		cmocka_unit_test(test_frozen_changes_disks_only),
		cmocka_unit_test(test_frozen_keeps_its_uuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
