/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains of real images: followed where somebody names the file, refused where nobody does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clone/plan/chain.h"
#include "fs/util/cleanup.h"
#include "tests/lib/scratch.h"

/* base.raw <- mid.qcow2 <- top.qcow2; data.qcow2 with its data in data.raw. */
static const char images[] =
	"truncate -s 1M base.raw\n"
	"qemu-img create -q -f qcow2 -F raw -b base.raw mid.qcow2\n"
	"qemu-img create -q -f qcow2 -F qcow2 -b mid.qcow2 top.qcow2\n"
	"qemu-img create -q -f qcow2 -o data_file=data.raw data.qcow2 1M\n"
	"qemu-img create -q -f qcow2 lone.qcow2 1M\n";

static char base[SCRATCH_PATH_MAX], mid[SCRATCH_PATH_MAX], top[SCRATCH_PATH_MAX],
	with_data[SCRATCH_PATH_MAX], data[SCRATCH_PATH_MAX], lone[SCRATCH_PATH_MAX];

static int setup(void **state)
{
	(void)state;
	scratch_make();
	scratch_path(base, "base.raw");
	scratch_path(mid, "mid.qcow2");
	scratch_path(top, "top.qcow2");
	scratch_path(with_data, "data.qcow2");
	scratch_path(data, "data.raw");
	scratch_path(lone, "lone.qcow2");
	return scratch_run(NULL, "cd %s && set -e\n%s", scratch_dir(), images);
}

static int teardown(void **state)
{
	(void)state;
	scratch_remove();
	return 0;
}

/* ---- what is asked for ---- */

struct asked {
	const char *path, *format;
	const struct xml_disk *disk;
	const char *backings[4], *data_files[2];
};

static uint32_t count(const char *const *texts, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && texts[n])
		n++;
	return n;
}

static int find(const struct asked *asked, struct base_source **ret_source, struct err *err)
{
	const struct chain_top chain_top = {
		.path = asked->path, .format = asked->format ?: "qcow2", .disk = asked->disk};
	struct allowed allowed;
	int rc;

	assert_int_equal(allowed_parse(asked->backings, count(asked->backings, 4),
		asked->data_files, count(asked->data_files, 2), &allowed, err), 0);
	rc = chain_find(&chain_top, &allowed, ret_source, err);
	if (rc == 0)
		rc = allowed_check_used(&allowed, err);
	allowed_clear(&allowed);
	return rc;
}

/* The chain is these files, "FORMAT PATH", the top first. */
static void finds(const struct asked *asked, const char *const *files)
{
	struct base_source *source;
	struct err err = {0};
	uint32_t i;

	if (find(asked, &source, &err) < 0)
		fail_msg("%s", err.message);
	for (i = 0; files[i]; i++) {
		AUTO_FREE char *file = NULL;

		assert_true(i < source->n_images);
		assert_true(asprintf(&file, "%s %s", source->images[i].format,
			source->images[i].path) > 0);
		assert_string_equal(file, files[i]);
	}
	assert_int_equal(source->n_images, i);
	base_source_free(source);
}

static void refuses(const struct asked *asked, const char *why, const char *hint)
{
	struct base_source *source = NULL;
	struct err err = {0};

	assert_int_equal(find(asked, &source, &err), -EOPNOTSUPP);
	assert_null(source);
	if (!strstr(err.message, why))
		fail_msg("'%s' does not say '%s'", err.message, why);
	if (!strstr(err.hint, hint))
		fail_msg("'%s' does not say '%s'", err.hint, hint);
}

#define FILE_OF(text, format, path)                                                                \
	char text[SCRATCH_PATH_MAX + 8];                                                           \
	snprintf(text, sizeof(text), "%s %s", format, path)

/* ---- alone ---- */

static void test_raw_names_nothing(void **state)
{
	const struct asked as_raw = {.path = top, .format = "raw"};
	const struct asked plain = {.path = lone};
	FILE_OF(raw_top, "raw", top);
	FILE_OF(qcow2_lone, "qcow2", lone);

	(void)state;
	finds(&as_raw, (const char *const[]){raw_top, NULL});
	finds(&plain, (const char *const[]){qcow2_lone, NULL});
}

/* ---- by the user ---- */

static void test_nobody_allows(void **state)
{
	const struct asked nobody = {.path = top};
	const struct asked half = {.path = top, .backings = {mid}};
	const struct asked beside = {.path = with_data};
	const struct asked wrong_kind = {.path = with_data, .backings = {data}};

	(void)state;
	refuses(&nobody, mid, "--backing ");
	refuses(&nobody, "which neither the domain nor you named", mid);
	refuses(&half, base, base);
	refuses(&beside, data, "--data-file ");
	refuses(&wrong_kind, data, "--data-file ");
}

static void test_user_allows(void **state)
{
	const struct asked chain = {.path = top, .backings = {base, mid}};
	const struct asked beside = {.path = with_data, .data_files = {data}};
	FILE_OF(qcow2_top, "qcow2", top);
	FILE_OF(qcow2_mid, "qcow2", mid);
	FILE_OF(raw_base, "raw", base);
	struct base_source *source;
	struct err err = {0};

	(void)state;
	finds(&chain, (const char *const[]){qcow2_top, qcow2_mid, raw_base, NULL});
	assert_int_equal(find(&beside, &source, &err), 0);
	assert_int_equal(source->n_images, 1);
	assert_string_equal(source->images[0].data_path, data);
	base_source_free(source);
}

/* The user's format wins: what lies below a raw image is not looked for. */
static void test_user_says_format(void **state)
{
	char as_raw[SCRATCH_PATH_MAX + 8];
	const struct asked asked = {.path = top, .backings = {as_raw}};
	FILE_OF(qcow2_top, "qcow2", top);
	FILE_OF(raw_mid, "raw", mid);

	(void)state;
	snprintf(as_raw, sizeof(as_raw), "%s:raw", mid);
	finds(&asked, (const char *const[]){qcow2_top, raw_mid, NULL});
}

static void test_format_of_another_kind(void **state)
{
	char path[SCRATCH_PATH_MAX];
	const struct asked asked = {.path = path, .backings = {base}};

	(void)state;
	scratch_path(path, "on-vmdk.qcow2");
	assert_int_equal(scratch_run(NULL, "cd %s && cp mid.qcow2 on-vmdk.qcow2 && "
		"qemu-img rebase -q -u -F vmdk -b base.raw on-vmdk.qcow2", scratch_dir()), 0);
	refuses(&asked, "neither raw nor qcow2 (vmdk)", "qemu-img convert");
}

/* ---- by the domain ---- */

static void test_domain_allows(void **state)
{
	struct xml_image below[] = {{.path = mid, .format = (char *)"qcow2"},
		{.path = base, .format = (char *)"raw"}};
	const struct xml_disk disk = {.n_backings = 2, .backings = below, .terminated = true};
	const struct xml_disk beside = {.data = data, .terminated = true};
	const struct xml_disk half = {.n_backings = 1, .backings = below};
	const struct asked both = {.path = top, .disk = &disk};
	const struct asked with = {.path = with_data, .disk = &beside};
	const struct asked not_all = {.path = top, .disk = &half};
	const struct asked rest = {.path = top, .disk = &half, .backings = {base}};
	FILE_OF(qcow2_top, "qcow2", top);
	FILE_OF(qcow2_mid, "qcow2", mid);
	FILE_OF(raw_base, "raw", base);
	FILE_OF(qcow2_data, "qcow2", with_data);

	(void)state;
	finds(&both, (const char *const[]){qcow2_top, qcow2_mid, raw_base, NULL});
	finds(&with, (const char *const[]){qcow2_data, NULL});
	refuses(&not_all, base, "--backing ");
	finds(&rest, (const char *const[]){qcow2_top, qcow2_mid, raw_base, NULL});
}

/* Who is right? Nobody can tell, so it is refused, whatever the user allows. */
static void test_domain_contradicts(void **state)
{
	struct xml_image other[] = {{.path = lone, .format = (char *)"qcow2"}};
	const struct xml_disk another = {.n_backings = 1, .backings = other};
	const struct xml_disk ended = {.terminated = true};
	const struct xml_disk more = {.n_backings = 1, .backings = other};
	const struct xml_disk other_data = {.data = base};
	const struct asked cases[] = {
		{.path = top, .disk = &another, .backings = {mid}},
		{.path = top, .disk = &ended, .backings = {mid}},
		{.path = with_data, .disk = &more, .data_files = {data}},
		{.path = base, .format = "raw", .disk = &more},
		{.path = with_data, .disk = &other_data, .data_files = {data}},
		{.path = lone, .disk = &other_data},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuses(&cases[i], ", the domain ", "correct the domain (virsh edit)");
}

/* ---- what is wrong in itself ---- */

static void test_loop(void **state)
{
	char a[SCRATCH_PATH_MAX], b[SCRATCH_PATH_MAX];
	const struct asked asked = {.path = a, .backings = {a, b}};

	(void)state;
	scratch_path(a, "a.qcow2");
	scratch_path(b, "b.qcow2");
	assert_int_equal(scratch_run(NULL, "cd %s && qemu-img create -q -f qcow2 a.qcow2 1M && "
		"qemu-img create -q -f qcow2 -F qcow2 -b a.qcow2 b.qcow2 && "
		"qemu-img rebase -q -u -F qcow2 -b b.qcow2 a.qcow2", scratch_dir()), 0);
	refuses(&asked, "a.qcow2 is below itself", "");
}

static void test_too_long(void **state)
{
	struct xml_image below[XML_IMAGES_MAX];
	struct xml_disk disk = {.backings = below};
	char last[SCRATCH_PATH_MAX];
	const struct asked asked = {.path = last, .disk = &disk};

	(void)state;
	snprintf(last, sizeof(last), "%s/%d.qcow2", scratch_dir(), BASE_IMAGES_MAX);
	assert_int_equal(scratch_run(NULL, "cd %s && qemu-img create -q -f qcow2 0.qcow2 1M && "
		"for i in $(seq %d); do qemu-img create -q -f qcow2 -F qcow2 -u -b $((i - 1)).qcow2 "
		"$i.qcow2 1M || exit 1; done", scratch_dir(), BASE_IMAGES_MAX), 0);
	for (int i = BASE_IMAGES_MAX - 1; i >= 0; i--) {
		struct xml_image *image = &below[disk.n_backings++];

		*image = (struct xml_image){.format = (char *)"qcow2"};
		assert_true(asprintf(&image->path, "%s/%d.qcow2", scratch_dir(), i) > 0);
	}
	refuses(&asked, "more than 32 images", "qemu-img rebase");
	for (uint32_t i = 0; i < disk.n_backings; i++)
		free(below[i].path);
}

static void test_missing(void **state)
{
	char path[SCRATCH_PATH_MAX], gone[SCRATCH_PATH_MAX];
	struct xml_image below[] = {{.path = gone, .format = (char *)"raw"}};
	const struct xml_disk disk = {.n_backings = 1, .backings = below};
	const struct asked asked = {.path = path, .disk = &disk};
	struct base_source *source;
	struct err err = {0};

	(void)state;
	scratch_path(path, "orphan.qcow2");
	scratch_path(gone, "gone.raw");
	assert_int_equal(scratch_run(NULL, "cd %s && qemu-img create -q -f qcow2 -F raw -u "
		"-b gone.raw orphan.qcow2 1M", scratch_dir()), 0);
	assert_int_equal(find(&asked, &source, &err), -ESTALE);
	assert_non_null(strstr(err.message, gone));
	assert_non_null(strstr(err.message, "is not there"));
}

/* A name that is none of a file's leads nowhere, whoever allows what. */
static void test_protocols(void **state)
{
	static const char *const names[] = {"nbd:localhost:10809", "json:{\"driver\":\"null-co\"}",
		"ssh://host/base.raw"};
	char path[SCRATCH_PATH_MAX];
	const struct asked asked = {.path = path, .backings = {base}};

	(void)state;
	scratch_path(path, "net.qcow2");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(scratch_run(NULL, "cd %s && rm -f net.qcow2 && qemu-img create -q "
			"-f qcow2 -F raw -u -b '%s' net.qcow2 1M", scratch_dir(), names[i]), 0);
		refuses(&asked, names[i], "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raw_names_nothing),
		cmocka_unit_test(test_nobody_allows),
		cmocka_unit_test(test_user_allows),
		cmocka_unit_test(test_user_says_format),
		cmocka_unit_test(test_format_of_another_kind),
		cmocka_unit_test(test_domain_allows),
		cmocka_unit_test(test_domain_contradicts),
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_protocols),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
