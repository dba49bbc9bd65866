/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The domain's disks against all bases: see startcheck.h. */
#include "clone/plan/startcheck.h"

#include <errno.h>
#include <stdlib.h>

#include "clone/plan/bases.h"
#include "clone/xml/domain.h"
#include "fs/util/cleanup.h"

static int refuse(const struct xml_domain *domain, const struct xml_disk *disk,
	const struct bases *bases, const struct bases_entry *entry, struct err *err)
{
	AUTO_FREE char *users = bases_users_text(bases, entry);

	err_set(err, -EBUSY, "%s cannot be started: its disk %s, %s, is what clones of it read: %s",
		domain->name, disk->target, disk->source, users ? users : "?");
	err_hint(err, "start a clone instead; or let it move on to a delta of its own: lazyclone "
		"base freeze %s; or make them independent or remove them first: lazyclone "
		"hydrate, lazyclone rm", domain->name);
	return -EBUSY;
}

static int check_disk(const struct xml_domain *domain, const struct xml_disk *disk,
	const struct bases *bases, struct err *err)
{
	if (!disk->source || disk->readonly)
		return 0;
	for (uint32_t i = 0; i < bases->n_entries; i++) {
		const struct bases_entry *entry = &bases->entries[i];

		if (entry->n_users > 0 && bases_file_of(entry, disk->source) >= 0)
			return refuse(domain, disk, bases, entry, err);
	}
	return 0;
}

static int check_domain(struct session *session, const struct xml_domain *domain,
	struct err *err)
{
	struct bases bases;
	int rc = bases_load_manifests(session, &bases, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < domain->n_disks; i++)
		rc = check_disk(domain, &domain->disks[i], &bases, err);
	bases_clear(&bases);
	return rc;
}

int startcheck(struct session *session, const char *xml, struct err *err)
{
	struct xml_provenance provenance;
	struct xml_domain *domain;
	int rc = xml_provenance(xml, &provenance);

	/* A clone: its disks lie on a mount, which may hang. */
	if (rc == 1)
		xml_provenance_clear(&provenance);
	if (rc != 0)
		return rc < 0 ? err_set(err, rc, "the definition cannot be read") : 0;
	rc = xml_survey(xml, &domain, err);
	if (rc < 0)
		return rc;
	rc = check_domain(session, domain, err);
	xml_domain_free(domain);
	return rc;
}
