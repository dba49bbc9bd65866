/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What holds for every domain that can be cloned, tried on all golden inputs. */
#include <errno.h>
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

struct one {
	const char *name;
	char *in;
	char *out;
	struct golden golden;
};

/* Call fn for each input that is rewritten, not refused; says how many. */
static void each(void (*fn)(const struct one *one))
{
	char **names = golden_names();
	int count = 0;

	for (char **name = names; *name; name++) {
		AUTO_FREE char *text = golden_read(*name, ".request");
		struct one one = {.name = *name};

		one.in = golden_read(*name, ".in.xml");
		assert_non_null(one.in);
		golden_request(one.in, text, &one.golden);
		if (!one.golden.restore &&
			xml_rewrite(one.in, &one.golden.request, &one.out, NULL, NULL) == 0) {
			fn(&one);
			count++;
		}
		golden_clear(&one.golden);
		free(one.in);
		free(one.out);
	}
	golden_names_free(names);
	print_message("%d domains\n", count);
	assert_true(count > 60);
}

/* ---- the properties ---- */

static const struct xml_disk *find_disk(const struct xml_domain *domain, const char *target)
{
	for (uint32_t i = 0; i < domain->n_disks; i++)
		if (strcmp(domain->disks[i].target, target) == 0)
			return &domain->disks[i];
	fail_msg("no disk %s", target);
	return NULL;
}

/* No writable image, firmware variables, address or identity in common. */
static void nothing_shared(const struct one *one)
{
	struct xml_domain *in, *out;

	assert_int_equal(xml_survey(one->in, &in, NULL), 0);
	assert_int_equal(xml_scan(one->out, &out, NULL), 0);
	assert_int_equal(in->n_disks, out->n_disks);
	for (uint32_t i = 0; i < in->n_disks; i++) {
		const struct xml_disk *new = find_disk(out, in->disks[i].target);

		assert_int_equal(in->disks[i].cloned, new->cloned);
		if (!new->cloned)
			continue;
		assert_string_equal(new->type, "file");
		assert_string_equal(new->format, "raw");
		assert_int_equal(new->n_backings, 0);
		assert_true(new->terminated);
		if (!in->disks[i].source)
			continue; /* a volume */
		assert_string_not_equal(in->disks[i].source, new->source);
		/* And not by any other way in. */
		assert_null(strstr(one->out, in->disks[i].source));
	}
	assert_int_equal(in->n_macs, out->n_macs);
	for (uint32_t i = 0; i < in->n_macs; i++)
		if (in->macs[i][0])
			assert_string_not_equal(in->macs[i], out->macs[i]);
	assert_int_equal(!in->nvram, !out->nvram);
	if (in->nvram)
		assert_string_not_equal(in->nvram, out->nvram);
	assert_string_not_equal(in->uuid, out->uuid);
	assert_string_not_equal(in->name, out->name);
	xml_domain_free(in);
	xml_domain_free(out);
}

static void test_nothing_shared(void **state)
{
	each(nothing_shared);
}

/* Rewriting a clone changes nothing but what the request names: given another
 * identity, and then its own again, it comes out the same to the byte. */
static void only_identity(const struct one *one)
{
	const struct xml_request *own = &one->golden.request;
	AUTO_FREE char *other = NULL;
	AUTO_FREE char *again = NULL;
	struct golden golden;
	struct err err = {0};

	golden_request(
		one->out, "name=other\nuuid=c10e0000-0000-4000-8000-000000000002\n", &golden);
	golden.request.dac_label = own->dac_label;
	for (uint32_t i = 0; i < golden.request.n_macs; i++)
		if (golden.macs[i][0])
			golden.macs[i][12] = 'e';
	if (xml_rewrite(one->out, &golden.request, &other, NULL, &err) < 0 ||
		xml_rewrite(other, own, &again, NULL, &err) < 0)
		fail_msg("%s: %s", one->name, err.message);
	assert_string_not_equal(other, one->out);
	assert_string_equal(again, one->out);
	golden_clear(&golden);
}

static void test_only_identity(void **state)
{
	each(only_identity);
}

/* What a hydrated disk's <driver> is: as it was, but for what only qcow2 has. */
static bool same_driver(const char *was, const char *is)
{
	const char *qcow2 = strstr(was, "type=\"qcow2\"");
	AUTO_FREE char *raw = NULL;

	if (strstr(was, "metadata_cache"))
		return strstr(is, "type=\"raw\"") && !strstr(is, "metadata_cache") &&
		       !strstr(is, "discard_no_unref");
	if (!qcow2)
		return strcmp(was, is) == 0;
	assert_true(asprintf(&raw, "%.*stype=\"raw\"%s", (int)(qcow2 - was), was,
			    qcow2 + strlen("type=\"qcow2\"")) > 0);
	return strcmp(raw, is) == 0;
}

/* Hydrate gives each disk its own <driver> again, and leaves nothing of ours. */
static void restored(const struct one *one)
{
	struct xml_new_disk disks[XML_DISKS_MAX] = {0};
	struct xml_restore_request request = {0, disks};
	AUTO_FREE char *text = NULL;
	struct xml_domain *in, *out;
	struct err err = {0};

	assert_int_equal(xml_survey(one->in, &in, NULL), 0);
	for (uint32_t i = 0; i < in->n_disks; i++)
		if (in->disks[i].cloned)
			disks[request.n_disks++] = (struct xml_new_disk){
				in->disks[i].target, "/srv/full.raw", in->disks[i].driver};
	if (xml_restore(one->out, &request, &text, &err) < 0 ||
		xml_check_restored(text, &request, &err) < 0)
		fail_msg("%s: %s", one->name, err.message);
	assert_int_equal(xml_survey(text, &out, NULL), 0);
	for (uint32_t i = 0; i < in->n_disks; i++) {
		const char *was = in->disks[i].driver;
		const char *is = find_disk(out, in->disks[i].target)->driver;

		if (was && is && strstr(was, "type="))
			assert_true(in->disks[i].cloned ? same_driver(was, is)
							: strcmp(was, is) == 0);
		else
			assert_true(!was == !is);
	}
	assert_null(strstr(text, "lazyclone:"));
	assert_null(strstr(text, "<metadata/>"));
	xml_domain_free(in);
	xml_domain_free(out);
}

static void test_restored(void **state)
{
	each(restored);
}

/* A clone tells where it is from; nobody else does. */
static void provenance(const struct one *one)
{
	const struct xml_request *request = &one->golden.request;
	struct xml_provenance provenance;

	assert_int_equal(xml_provenance(one->out, &provenance), 1);
	assert_string_equal(provenance.uuid, request->uuid);
	assert_string_equal(provenance.store, request->store);
	assert_string_equal(provenance.source_name, request->source_name);
	assert_string_equal(provenance.source_uuid, request->source_uuid);
	assert_int_equal(provenance.created_sec, request->created_sec);
	xml_provenance_clear(&provenance);
	if (!strstr(one->in, "lazyclone:clone"))
		assert_int_equal(xml_provenance(one->in, &provenance), 0);
}

static void test_provenance(void **state)
{
	each(provenance);
}

/* Same in, same out; and the lines for people tell of each disk and address. */
static void pure(const struct one *one)
{
	const struct xml_request *request = &one->golden.request;
	AUTO_FREE char *again = NULL;
	char **changes;
	uint32_t told = 0;

	assert_int_equal(xml_rewrite(one->in, request, &again, &changes, NULL), 0);
	assert_string_equal(again, one->out);
	for (char **line = changes; *line; line++) {
		assert_null(strchr(*line, '\n'));
		assert_null(strstr(*line, "sesame")); /* the password of the golden displays */
		for (uint32_t i = 0; i < request->n_disks; i++)
			told += strstr(*line, request->disks[i].path) != NULL;
		for (uint32_t i = 0; i < request->n_macs; i++)
			told += request->macs[i][0] && strstr(*line, request->macs[i]);
	}
	for (uint32_t i = 0; i < request->n_macs; i++)
		told += !request->macs[i][0];
	assert_true(told >= request->n_disks + request->n_macs);
	xml_changes_free(changes);
}

static void test_pure(void **state)
{
	each(pure);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_shared),
		cmocka_unit_test(test_only_identity),
		cmocka_unit_test(test_restored),
		cmocka_unit_test(test_provenance),
		cmocka_unit_test(test_pure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
