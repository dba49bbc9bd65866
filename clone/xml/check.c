/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Did libvirt keep what the clone was asked to be? Compared by meaning, not by text. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "clone/xml/domain.h"
#include "clone/xml/driver.h"
#include "clone/xml/nouns.h"
#include "clone/xml/provenance.h"
#include "clone/xml/scan.h"
#include "clone/xml/tree.h"

static int differs(struct err *err, const char *what, const char *have, const char *want)
{
	return err_set(err, -EREMOTEIO, "%s: libvirt made it '%s', not '%s'", what, have ?: "",
		want ?: "");
}

static int check_identity(
	const struct xml_domain *domain, const struct xml_request *request, struct err *err)
{
	if (strcmp(domain->name, request->name) != 0)
		return differs(err, "name", domain->name, request->name);
	if (strcasecmp(domain->uuid, request->uuid) != 0)
		return differs(err, "uuid", domain->uuid, request->uuid);
	/* Where none was asked for, libvirt may name one after the domain. */
	if (request->nvram && strcmp(domain->nvram ?: "", request->nvram) != 0)
		return differs(err, "nvram", domain->nvram, request->nvram);
	return 0;
}

static int check_macs(
	const struct xml_domain *domain, const struct xml_request *request, struct err *err)
{
	if (domain->n_macs != request->n_macs)
		return err_set(err, -EREMOTEIO, "interfaces: libvirt made %u, not %u",
			domain->n_macs, request->n_macs);
	for (uint32_t i = 0; i < request->n_macs; i++)
		if (request->macs[i][0] && strcasecmp(domain->macs[i], request->macs[i]) != 0)
			return differs(err, "interface", domain->macs[i], request->macs[i]);
	return 0;
}

static int check_disk(
	const xmlNode *root, const struct xml_new_disk *new, bool labelled, struct err *err)
{
	const xmlNode *disk = scan_find_disk(root, new->target);
	const char *path = disk ? disk_source_path(disk) : NULL;
	const char *wrong;

	if (!path || !disk_type_is(disk, "file") || strcmp(path, new->path) != 0)
		return differs(err, new->target, path, new->path);
	wrong = driver_unset(disk);
	if (wrong)
		return err_set(err, -EREMOTEIO, "disk %s: libvirt changed driver attribute %s",
			new->target, wrong);
	if (labelled && !disk_label(disk))
		return err_set(err, -EREMOTEIO, "disk %s: libvirt dropped its security label",
			new->target);
	return 0;
}

static int check_disks(const xmlNode *root, const struct xml_domain *domain,
	const struct xml_request *request, struct err *err)
{
	uint32_t writable = 0;
	int rc = 0;

	for (uint32_t i = 0; i < request->n_disks && rc == 0; i++)
		rc = check_disk(root, &request->disks[i], request->dac_label, err);
	for (uint32_t i = 0; i < domain->n_disks; i++)
		writable += domain->disks[i].cloned;
	if (rc == 0 && writable != request->n_disks)
		return err_set(err, -EREMOTEIO, "disks: libvirt made %u writable ones, not %u",
			writable, request->n_disks);
	return rc;
}

static int check_provenance(const char *xml, const struct xml_request *request, struct err *err)
{
	struct xml_provenance provenance;
	int rc = xml_provenance(xml, &provenance);

	if (rc < 0)
		return err_sys(err, rc, "domain XML");
	if (rc == 0)
		return err_set(err, -EREMOTEIO, "metadata: libvirt dropped lazyclone's");
	rc = provenance.frozen == request->frozen &&
			     strcmp(provenance.store, request->store) == 0 &&
			     strcmp(provenance.source_uuid, request->source_uuid) == 0
		     ? 0
		     : err_set(err, -EREMOTEIO, "metadata: libvirt changed lazyclone's");
	xml_provenance_clear(&provenance);
	return rc;
}

/* Also refuses what would be refused in a source: libvirt may have filled in
 * from its own defaults what both machines would share. */
static int check_all(const char *xml, const xmlNode *root, const struct xml_domain *domain,
	const struct xml_request *request, struct err *err)
{
	int rc = check_identity(domain, request, err);

	if (rc == 0)
		rc = check_macs(domain, request, err);
	if (rc == 0)
		rc = check_disks(root, domain, request, err);
	if (rc == 0)
		rc = check_provenance(xml, request, err);
	if (rc == 0 && scan_check(root, domain, err) < 0) {
		err_prefix(err, "after libvirt defined it");
		rc = -EREMOTEIO;
		if (err)
			err->code = rc;
	}
	return rc;
}

int xml_check(const char *defined_xml, const struct xml_request *request, struct err *err)
{
	struct xml_domain *domain = NULL;
	AUTO_DOC xmlDoc *doc = NULL;
	int rc = tree_parse(defined_xml, "domain", &doc, err);

	if (rc == 0)
		rc = scan_collect(xmlDocGetRootElement(doc), &domain, err);
	if (rc == 0)
		rc = check_all(defined_xml, xmlDocGetRootElement(doc), domain, request, err);
	xml_domain_free(domain);
	return rc;
}
