/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as a domain's XML: no crash, and what is accepted is a clone. room: clone/xml */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clone/xml/domain.h"
#include "fs/util/cleanup.h"
#include "tests/lib/golden.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool holds, const struct err *err)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz-xml: %s\n", err->message);
	abort();
}

static void check_shared(const struct xml_domain *in, const char *out_xml)
{
	struct xml_domain *out = NULL;
	struct err err = {0};

	insist(xml_scan(out_xml, &out, &err) == 0, &err);
	for (uint32_t i = 0; i < out->n_disks; i++)
		for (uint32_t j = 0; j < in->n_disks; j++)
			if (out->disks[i].cloned && in->disks[j].source)
				assert(strcmp(out->disks[i].source, in->disks[j].source) != 0);
	xml_domain_free(out);
}

static void check_restore(const struct xml_domain *in, const char *out_xml)
{
	struct xml_new_disk disks[XML_DISKS_MAX] = {0};
	struct xml_restore_request request = {0, disks};
	AUTO_FREE char *text = NULL;
	struct err err = {0};

	for (uint32_t i = 0; i < in->n_disks; i++)
		if (in->disks[i].cloned)
			disks[request.n_disks++] = (struct xml_new_disk){
				in->disks[i].target, "/srv/full.raw", in->disks[i].driver};
	insist(xml_restore(out_xml, &request, &text, &err) == 0, &err);
	insist(xml_check_restored(text, &request, &err) == 0, &err);
}

static void check_clone(const char *xml, const struct xml_domain *in)
{
	struct xml_provenance provenance;
	struct golden golden;
	AUTO_FREE char *out = NULL;
	struct err err = {0};

	golden_request(xml, NULL, &golden);
	if (xml_rewrite(xml, &golden.request, &out, NULL, &err) == 0) {
		insist(xml_check(out, &golden.request, &err) == 0, &err);
		insist(xml_provenance(out, &provenance) == 1, &err);
		xml_provenance_clear(&provenance);
		check_shared(in, out);
		check_restore(in, out);
	}
	golden_clear(&golden);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *xml = strndup((const char *)data, size);
	struct xml_domain *domain = NULL;
	struct xml_provenance provenance;
	struct err err = {0};
	char *backing;

	if (!xml)
		return 0;
	if (xml_survey(xml, &domain, &err) == 0)
		xml_domain_free(domain);
	if (xml_volume_backing(xml, &backing, &err) == 1)
		free(backing);
	if (xml_provenance(xml, &provenance) == 1)
		xml_provenance_clear(&provenance);
	if (xml_scan(xml, &domain, &err) < 0)
		return 0;
	check_clone(xml, domain);
	xml_domain_free(domain);
	return 0;
}
