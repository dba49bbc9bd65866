/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding and describing domains: see virt.h. */
#include "clone/virt/virt.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "clone/virt/connection.h"
#include "clone/virt/fault.h"

void virt_domain_clear(struct virt_domain *domain)
{
	free(domain->name);
	free(domain->xml);
	memset(domain, 0, sizeof(*domain));
}

static int ask_state(virDomainPtr handle, struct virt_domain *domain)
{
	int active = virDomainIsActive(handle);
	int persistent = virDomainIsPersistent(handle);
	/* A transient domain cannot have one, and some drivers call the question an error. */
	int saved = persistent > 0 ? virDomainHasManagedSaveImage(handle, 0) : 0;

	if (active < 0 || persistent < 0 || saved < 0)
		return -1;
	domain->active = active > 0;
	domain->persistent = persistent > 0;
	domain->managed_save = saved > 0;
	domain->id = active > 0 ? (int)virDomainGetID(handle) : -1;
	return 0;
}

static int describe(virDomainPtr handle, struct virt_domain *ret_domain, struct err *err)
{
	struct virt_domain domain = {0};
	const char *name = virDomainGetName(handle);

	domain.xml = virDomainGetXMLDesc(handle, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
	if (!name || !domain.xml || virDomainGetUUIDString(handle, domain.uuid) < 0) {
		int rc = virt_fault(err, "cannot read the domain %s", name ? name : "");

		virt_domain_clear(&domain);
		return rc;
	}
	domain.name = strdup(name);
	if (!domain.name) {
		virt_domain_clear(&domain);
		return err_sys(err, -ENOMEM, "cannot read the domain %s", name);
	}
	*ret_domain = domain;
	return 0;
}

static int describe_one(virDomainPtr handle, struct virt_domain *ret_domain, struct err *err)
{
	int rc = describe(handle, ret_domain, err);

	if (rc == 0 && ask_state(handle, ret_domain) < 0) {
		rc = virt_fault(err, "cannot read the domain %s", ret_domain->name);
		virt_domain_clear(ret_domain);
	}
	return rc;
}

static bool is_id(const char *text, int *ret_id)
{
	char *end;
	long v;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || *end || v > INT_MAX)
		return false;
	*ret_id = (int)v;
	return true;
}

/* virsh's order: id, UUID, name. */
static virDomainPtr find(struct virt *virt, const char *domain)
{
	virDomainPtr handle = NULL;
	int id;

	if (is_id(domain, &id))
		handle = virDomainLookupByID(virt->conn, id);
	if (!handle && strlen(domain) == VIR_UUID_STRING_BUFLEN - 1)
		handle = virDomainLookupByUUIDString(virt->conn, domain);
	if (!handle)
		handle = virDomainLookupByName(virt->conn, domain);
	return handle;
}

static int no_domain(struct virt *virt, const char *domain, struct err *err)
{
	int rc = virt_fault(err, "cannot look up the domain %s", domain);

	if (rc != -ENOENT)
		return rc;
	err_set(err, rc, "domain %s: no such domain at %s", domain, virt->uri);
	err_hint(err, "see them all: virsh -c %s list --all", virt->uri);
	return rc;
}

int virt_lookup(struct virt *virt, const char *domain, struct virt_domain *ret_domain,
	struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = find(virt, domain);

	return handle ? describe_one(handle, ret_domain, err) : no_domain(virt, domain, err);
}

int virt_lookup_uuid(struct virt *virt, const char *uuid, struct virt_domain *ret_domain,
	struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = virDomainLookupByUUIDString(virt->conn, uuid);

	return handle ? describe_one(handle, ret_domain, err) : no_domain(virt, uuid, err);
}

int virt_name_taken(struct virt *virt, const char *name, struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = virDomainLookupByName(virt->conn, name);
	int rc;

	if (handle)
		return 1;
	rc = virt_fault(err, "cannot look up the domain %s", name);
	return rc == -ENOENT ? 0 : rc;
}

/* Domains as libvirt lists them. */
struct handles {
	virDomainPtr *domain;
	int count;
};

static void handles_free(struct handles *handles)
{
	for (int i = 0; i < handles->count; i++)
		virDomainFree(handles->domain[i]);
	free(handles->domain);
}

static int handles_list(struct virt *virt, unsigned int flags, struct handles *handles)
{
	handles->count = virConnectListAllDomains(virt->conn, &handles->domain, flags);
	return handles->count;
}

static bool handles_have(const struct handles *handles, const char *uuid)
{
	for (int i = 0; i < handles->count; i++) {
		char other[VIR_UUID_STRING_BUFLEN];

		if (virDomainGetUUIDString(handles->domain[i], other) == 0 &&
			strcmp(other, uuid) == 0)
			return true;
	}
	return false;
}

/* Three questions for each of N domains would be 3N calls; two lists, of the
 * few that differ, tell the same, and the handle knows a running one's id. */
static int describe_all(const struct handles *all, const struct handles *transient,
	const struct handles *saved, struct virt_domain *domains, uint32_t *ret_count,
	struct err *err)
{
	uint32_t n = 0;

	for (int i = 0; i < all->count; i++) {
		struct virt_domain *domain = &domains[n];
		int rc = describe(all->domain[i], domain, err);

		if (rc == -ENOENT)
			continue; /* vanished since it was listed */
		if (rc < 0) {
			virt_list_free(domains, n);
			return rc;
		}
		domain->id = (int)virDomainGetID(all->domain[i]);
		domain->active = domain->id >= 0;
		domain->persistent = !handles_have(transient, domain->uuid);
		domain->managed_save = handles_have(saved, domain->uuid);
		n++;
	}
	*ret_count = n;
	return 0;
}

int virt_list(struct virt *virt, struct virt_domain **ret_domains, uint32_t *ret_count,
	struct err *err)
{
	AUTO(handles_free) struct handles all = {0};
	AUTO(handles_free) struct handles transient = {0};
	AUTO(handles_free) struct handles saved = {0};
	struct virt_domain *domains;
	int rc;

	if (handles_list(virt, 0, &all) < 0 ||
		handles_list(virt, VIR_CONNECT_LIST_DOMAINS_TRANSIENT, &transient) < 0 ||
		handles_list(virt, VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE, &saved) < 0)
		return virt_fault(err, "cannot list the domains of %s", virt->uri);
	domains = calloc((size_t)all.count + 1, sizeof(*domains));
	if (!domains)
		return err_sys(err, -ENOMEM, "cannot list the domains");
	rc = describe_all(&all, &transient, &saved, domains, ret_count, err);
	if (rc == 0)
		*ret_domains = domains;
	return rc;
}

void virt_list_free(struct virt_domain *domains, uint32_t count)
{
	for (uint32_t i = 0; domains && i < count; i++)
		virt_domain_clear(&domains[i]);
	free(domains);
}
