/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names, UUIDs and MACs in use, and choosing new ones: see census.h. */
#include "clone/plan/census.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clone/plan/clone.h"
#include "clone/state/record.h"
#include "fs/util/cleanup.h"
#include "fs/util/id.h"

#define QEMU_OUI UINT64_C(0x525400)

/* 16 million addresses below an OUI, at most CLONE_COUNT_MAX * XML_NICS_MAX
 * of them ours: that many misses in a row mean that they are used up. */
#define MAC_TRIES 1000

struct census {
	char **names;
	uint32_t n_names, n_names_allocated;
	char (*uuids)[VIRT_UUID_TEXT];
	uint32_t n_uuids;
	uint64_t *macs; /* hash table, open addressing; 0 = free slot */
	uint32_t n_macs, n_slots;
};

void census_free(struct census *census)
{
	if (!census)
		return;
	for (uint32_t i = 0; i < census->n_names; i++)
		free(census->names[i]);
	free(census->names);
	free(census->uuids);
	free(census->macs);
	free(census);
}

bool census_has_name(const struct census *census, const char *name)
{
	for (uint32_t i = 0; i < census->n_names; i++)
		if (strcmp(census->names[i], name) == 0)
			return true;
	return false;
}

int census_add_name(struct census *census, const char *name)
{
	if (census->n_names == census->n_names_allocated) {
		uint32_t more = census->n_names_allocated ? 2 * census->n_names_allocated : 64;
		char **grown = reallocarray(census->names, more, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		census->names = grown;
		census->n_names_allocated = more;
	}
	census->names[census->n_names] = strdup(name);
	if (!census->names[census->n_names])
		return -ENOMEM;
	census->n_names++;
	return 0;
}

/* ---- MACs: 48 bits and a mark, so that no address is 0 ---- */

#define MAC_USED (UINT64_C(1) << 48)

static uint64_t mac_parse(const char *text)
{
	unsigned int b[6];

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
		return 0;
	return MAC_USED | (uint64_t)b[0] << 40 | (uint64_t)b[1] << 32 | (uint64_t)b[2] << 24 |
		(uint64_t)b[3] << 16 | (uint64_t)b[4] << 8 | b[5];
}

/* The slot of mac, or the free one where it belongs. */
static uint32_t mac_slot(const uint64_t *slots, uint32_t n_slots, uint64_t mac)
{
	uint32_t i = (uint32_t)((mac * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (n_slots - 1);

	while (slots[i] && slots[i] != mac)
		i = (i + 1) & (n_slots - 1);
	return i;
}

static int macs_grow(struct census *census)
{
	uint32_t n_slots = census->n_slots ? 2 * census->n_slots : 256;
	uint64_t *slots = calloc(n_slots, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < census->n_slots; i++)
		if (census->macs[i])
			slots[mac_slot(slots, n_slots, census->macs[i])] = census->macs[i];
	free(census->macs);
	census->macs = slots;
	census->n_slots = n_slots;
	return 0;
}

/* 1 added, 0 was there. */
static int macs_add(struct census *census, uint64_t mac)
{
	uint32_t slot;

	if (2 * (census->n_macs + 1) > census->n_slots && macs_grow(census) < 0)
		return -ENOMEM;
	slot = mac_slot(census->macs, census->n_slots, mac);
	if (census->macs[slot])
		return 0;
	census->macs[slot] = mac;
	census->n_macs++;
	return 1;
}

int census_mac(struct census *census, const char *source, char mac[static XML_MAC_TEXT],
	struct err *err)
{
	uint64_t like = mac_parse(source);
	uint64_t oui = like ? (like >> 24) & 0xffffff : QEMU_OUI;

	for (int i = 0; i < MAC_TRIES; i++) {
		uint64_t low = random_u64() & 0xffffff;
		int rc = macs_add(census, MAC_USED | oui << 24 | low);

		if (rc < 0)
			return err_sys(err, rc, "cannot choose a MAC address");
		if (rc == 0)
			continue;
		snprintf(mac, XML_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x",
			(unsigned int)(oui >> 16), (unsigned int)(oui >> 8 & 0xff),
			(unsigned int)(oui & 0xff), (unsigned int)(low >> 16),
			(unsigned int)(low >> 8 & 0xff), (unsigned int)(low & 0xff));
		return 0;
	}
	return err_set(err, -EEXIST, "no MAC address like %s is free", source);
}

/* ---- taking it ---- */

static int add_macs(struct census *census, const char *xml)
{
	struct xml_domain *domain;
	int rc = 0;

	/* What we cannot read we did not make; its MACs stay unknown. */
	if (xml_survey(xml, &domain, NULL) < 0)
		return 0;
	for (uint32_t i = 0; rc >= 0 && i < domain->n_macs; i++) {
		uint64_t mac = mac_parse(domain->macs[i]);

		rc = mac ? macs_add(census, mac) : 0;
	}
	xml_domain_free(domain);
	return rc < 0 ? rc : 0;
}

static int add_domains(struct census *census, const struct virt_domain *domains, uint32_t count)
{
	int rc = 0;

	census->uuids = calloc((size_t)count + 1, sizeof(*census->uuids));
	if (!census->uuids)
		return -ENOMEM;
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		memcpy(census->uuids[census->n_uuids++], domains[i].uuid, VIRT_UUID_TEXT);
		rc = census_add_name(census, domains[i].name);
		if (rc == 0)
			rc = add_macs(census, domains[i].xml);
	}
	return rc;
}

static int ask_libvirt(struct census *census, struct virt *virt, struct err *err)
{
	struct virt_domain *domains;
	uint32_t count;
	int rc = virt_list(virt, &domains, &count, err);

	if (rc < 0)
		return rc;
	rc = add_domains(census, domains, count);
	virt_list_free(domains, count);
	return rc < 0 ? err_sys(err, rc, "cannot list the domains") : 0;
}

static int ask_store(struct census *census, struct store *store, struct err *err)
{
	char **names;
	uint32_t count;
	int rc = store_list(store, &names, &count, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = census_add_name(census, names[i]);
	store_names_free(names, count);
	return rc < 0 ? err_sys(err, rc, "cannot list the clones") : 0;
}

int census_take(struct virt *virt, struct store *store, struct census **ret_census,
	struct err *err)
{
	struct census *census = calloc(1, sizeof(*census));
	int rc = 0;

	if (!census)
		return err_sys(err, -ENOMEM, "cannot list what is there");
	if (virt)
		rc = ask_libvirt(census, virt, err);
	if (rc == 0 && store)
		rc = ask_store(census, store, err);
	if (rc < 0) {
		census_free(census);
		return rc;
	}
	*ret_census = census;
	return 0;
}

/* ---- new ones ---- */

int census_next_name(const struct census *census, const char *source, uint32_t *number,
	char **ret_name, struct err *err)
{
	for (uint32_t n = *number;; n++) {
		AUTO_FREE char *name = NULL;

		if (asprintf(&name, "%s-clone%u", source, n) < 0)
			return err_sys(err, -ENOMEM, "%s", source);
		if (!store_name_valid(name)) {
			err_set(err, -EINVAL, "%s cannot be the name of a clone", name);
			err_hint(err, "give one: lazyclone clone %s NAME", source);
			return -EINVAL;
		}
		if (census_has_name(census, name))
			continue;
		*number = n + 1;
		*ret_name = steal_ptr(&name);
		return 0;
	}
}

static bool has_uuid(const struct census *census, const char *uuid)
{
	for (uint32_t i = 0; i < census->n_uuids; i++)
		if (strcasecmp(census->uuids[i], uuid) == 0)
			return true;
	return false;
}

void census_uuid(const struct census *census, char uuid[static VIRT_UUID_TEXT])
{
	do
		record_uuid_new(uuid);
	while (has_uuid(census, uuid));
}
