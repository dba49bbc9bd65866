/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What changes domains: define, undefine, start, power off; and what forbids it. */
#include "clone/virt/virt.h"

#include <errno.h>
#include <string.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "clone/virt/connection.h"
#include "clone/virt/fault.h"

/* Not VIR_DOMAIN_DEFINE_VALIDATE: the schema refuses what a libvirt of another
 * version once accepted in the source, and costs six times the definition
 * itself (17 ms). What libvirt made of the text is read back and compared. */
int virt_define(struct virt *virt, const char *xml, char **ret_defined_xml, struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = virDomainDefineXMLFlags(virt->conn, xml, 0);
	char *defined;

	if (!handle)
		return virt_fault(err, "libvirt does not define the domain");
	if (!ret_defined_xml)
		return 0;
	defined = virDomainGetXMLDesc(handle, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
	if (!defined)
		return virt_fault(err, "cannot read the domain back");
	*ret_defined_xml = defined;
	return 0;
}

/* Flags this libvirt knows, by the library's own version: a daemon of another
 * version that does not know one says so by name. */
static unsigned int undefine_flags(bool keep_nvram)
{
	unsigned int flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
		VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
		VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
	unsigned long version = 0;

	flags |= keep_nvram ? VIR_DOMAIN_UNDEFINE_KEEP_NVRAM : VIR_DOMAIN_UNDEFINE_NVRAM;
#if LIBVIR_VERSION_NUMBER >= 8009000
	if (virGetVersion(&version, NULL, NULL) == 0 && version >= 8009000)
		flags |= VIR_DOMAIN_UNDEFINE_TPM;
#else
	(void)version;
#endif
	return flags;
}

int virt_undefine(struct virt *virt, const char *uuid, bool keep_nvram, struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = virDomainLookupByUUIDString(virt->conn, uuid);
	int rc;

	if (!handle) {
		rc = virt_fault(err, "cannot look up the domain %s", uuid);
		return rc == -ENOENT ? 0 : rc;
	}
	/* libvirt would undefine it all the same and leave it running, transient. */
	rc = virDomainIsActive(handle);
	if (rc > 0)
		return err_set(err, -EBUSY, "domain %s is running", virDomainGetName(handle));
	if (rc == 0 && virDomainUndefineFlags(handle, undefine_flags(keep_nvram)) == 0)
		return 0;
	rc = virt_fault(err, "cannot undefine the domain %s", virDomainGetName(handle));
	return rc == -ENOENT ? 0 : rc;
}

int virt_start(struct virt *virt, const char *uuid, struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = virDomainLookupByUUIDString(virt->conn, uuid);

	if (!handle)
		return virt_fault(err, "cannot look up the domain %s", uuid);
	if (virDomainCreate(handle) < 0)
		return virt_fault(err, "cannot start the domain %s", virDomainGetName(handle));
	return 0;
}

int virt_destroy(struct virt *virt, const char *uuid, struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = virDomainLookupByUUIDString(virt->conn, uuid);

	if (!handle)
		return virt_fault(err, "cannot look up the domain %s", uuid);
	if (virDomainIsActive(handle) == 0 || virDomainDestroy(handle) == 0)
		return 0;
	/* It may have shut down by itself meanwhile. */
	if (virDomainIsActive(handle) == 0)
		return 0;
	return virt_fault(err, "cannot power off the domain %s", virDomainGetName(handle));
}

/* The domain has no agent at all. */
static bool no_agent(int code)
{
	return code == VIR_ERR_ARGUMENT_UNSUPPORTED || code == VIR_ERR_CONFIG_UNSUPPORTED ||
		code == VIR_ERR_OPERATION_UNSUPPORTED;
}

int virt_quiesce(struct virt *virt, const char *uuid, struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = virDomainLookupByUUIDString(virt->conn, uuid);
	bool missing;
	int rc;

	if (!handle)
		return virt_fault(err, "cannot look up the domain %s", uuid);
	if (virDomainFSFreeze(handle, NULL, 0, 0) >= 0)
		return 0;
	missing = no_agent(virGetLastErrorCode()) ||
		virGetLastErrorCode() == VIR_ERR_AGENT_UNRESPONSIVE;
	rc = virt_fault(err, "cannot freeze the file systems of the guest %s",
		virDomainGetName(handle));
	if (!missing)
		return rc;
	err_hint(err, "its agent does not answer; without --quiesce the disks are taken as a power "
		"cut would leave them");
	return -EOPNOTSUPP;
}

int virt_thaw(struct virt *virt, const char *uuid, struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = virDomainLookupByUUIDString(virt->conn, uuid);
	int rc;

	if (!handle) {
		rc = virt_fault(err, "cannot look up the domain %s", uuid);
		return rc == -ENOENT ? 0 : rc;
	}
	if (virDomainIsActive(handle) == 0 || virDomainFSThaw(handle, NULL, 0, 0) >= 0)
		return 0;
	/* Without one nothing was frozen; one that is silent may have left all frozen. */
	if (no_agent(virGetLastErrorCode()) || virDomainIsActive(handle) == 0)
		return 0;
	return virt_fault(err, "cannot thaw the file systems of the guest %s",
		virDomainGetName(handle));
}

/* 1 if a disk of a running domain has a block job. The disks' names come from
 * the statistics ("block.0.name"), so that no XML is read here. */
static int block_jobs(struct virt *virt, virDomainPtr handle)
{
	virDomainPtr list[] = {handle, NULL};
	virDomainStatsRecordPtr *stats = NULL;
	int found = 0;

	if (virDomainListGetStats(list, VIR_DOMAIN_STATS_BLOCK, &stats, 0) < 0)
		return -1;
	for (int i = 0; stats[0] && i < stats[0]->nparams && found == 0; i++) {
		const virTypedParameter *p = &stats[0]->params[i];
		const char *dot = strrchr(p->field, '.');
		virDomainBlockJobInfo job;

		if (p->type == VIR_TYPED_PARAM_STRING && dot && strcmp(dot, ".name") == 0)
			found = virDomainGetBlockJobInfo(handle, p->value.s, &job, 0);
	}
	virDomainStatsRecordListFree(stats);
	return found;
}

static int count_checkpoints(virDomainPtr handle)
{
	int n = virDomainListAllCheckpoints(handle, NULL, 0);

	/* A driver without checkpoints has none. */
	if (n < 0 && virGetLastErrorCode() == VIR_ERR_NO_SUPPORT)
		return 0;
	return n;
}

int virt_busy(struct virt *virt, const char *uuid, const char **ret_what, struct err *err)
{
	AUTO_DOMAIN virDomainPtr handle = virDomainLookupByUUIDString(virt->conn, uuid);
	int snapshots, checkpoints, active, jobs;

	*ret_what = NULL;
	if (!handle)
		return virt_fault(err, "cannot look up the domain %s", uuid);
	snapshots = virDomainSnapshotNum(handle, 0);
	checkpoints = count_checkpoints(handle);
	active = virDomainIsActive(handle);
	jobs = active > 0 ? block_jobs(virt, handle) : 0;
	if (snapshots < 0 || checkpoints < 0 || active < 0 || jobs < 0)
		return virt_fault(err, "cannot ask the domain %s", virDomainGetName(handle));
	if (jobs > 0)
		*ret_what = "a block job";
	else if (snapshots > 0)
		*ret_what = "snapshots";
	else if (checkpoints > 0)
		*ret_what = "checkpoints";
	return *ret_what ? 1 : 0;
}
