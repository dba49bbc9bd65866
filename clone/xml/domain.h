/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the rewriter: a domain's XML in, a clone's XML out; no other effect.
 *
 *	xml_scan(source xml)            what is in it; refuses what cannot be cloned yet
 *	xml_rewrite(source xml, request)    the clone's definition
 *	xml_check(defined xml, request)     did libvirt keep what we asked for?
 *	xml_restore(clone xml, request)     hydrate: on full images, nothing of ours left
 *	xml_provenance(any xml)         is it a clone of ours, or a frozen original?
 *
 * Text is UTF-8 as libvirt gives it with VIR_DOMAIN_XML_INACTIVE|SECURE.
 * DOCTYPE, entities and more than XML_TEXT_MAX bytes are refused. What the
 * rewriter does not know it keeps, in its order, comments and foreign
 * namespaces included. Graphics passwords never get into an error message.
 *
 * Errors: -EOPNOTSUPP an element that is writable, could be shared and is not
 * understood: the message names the element (and target) and the hint the way
 * out; -EINVAL not a domain. All functions are pure and may run in any thread.
 */
#ifndef CLONE_XML_DOMAIN_H
#define CLONE_XML_DOMAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/util/err.h"

#define XML_TEXT_MAX (8u << 20)
#define XML_DISKS_MAX 256
#define XML_NICS_MAX 256
#define XML_IMAGES_MAX 64 /* of one disk's chain */
#define XML_MAC_TEXT 18 /* "52:54:00:12:34:56" */

#define XML_NAMESPACE "https://lazyclone.org/domain/1.0"

/* An image of a chain, as the definition names it. */
struct xml_image {
	char *path;
	char *format; /* NULL: not said */
	char *data;   /* its external data file, <dataStore>; NULL: not said */
};

struct xml_disk {
	char *target;  /* "vda" */
	char *type;    /* "file", "block" ... */
	char *device;  /* "disk", "cdrom" ... */
	char *format;  /* driver type; NULL if not said: libvirt takes it as raw */
	char *source;  /* path; NULL: empty drive, or not a path */
	char *pool, *volume; /* type "volume" */
	char *data;    /* its external data file; NULL: not said */
	char *driver;  /* the <driver> element as text; NULL if there is none */
	/* What <backingStore> says lies below, the upper image first. Without one
	 * libvirt believes the image. */
	uint32_t n_backings;
	struct xml_image *backings;
	bool terminated; /* an empty <backingStore/> ends it: nothing more lies below */
	bool readonly;
	bool cloned;   /* writable image of a disk: gets a delta of its own */
};

struct xml_domain {
	char *name;
	char *uuid;  /* "" if the text has none */
	char *nvram; /* path of the NVRAM file; NULL without one */
	uint32_t n_disks;
	struct xml_disk *disks;
	uint32_t n_macs; /* one per interface, in document order; "" where none is said */
	char (*macs)[XML_MAC_TEXT];
};

void xml_domain_free(struct xml_domain *domain); /* NULL allowed */

/* Describe a source domain; refuse what is writable and not understood. */
int xml_scan(const char *xml, struct xml_domain **ret_domain, struct err *err);

/* The same without refusing anything: for other domains' MACs, disk paths,
 * NVRAM (conflict checks, "who uses this file"). */
int xml_survey(const char *xml, struct xml_domain **ret_domain, struct err *err);

/* The image below, as the description of a storage volume names it; libvirt has
 * found that name in the volume itself. 1 and *ret_path (the caller's), 0: none. */
int xml_volume_backing(const char *volume_xml, char **ret_path, struct err *err);

struct xml_new_disk {
	const char *target;
	const char *path;   /* the file on the mount, or the full image */
	const char *driver; /* xml_restore: the recorded <driver> text, may be NULL */
};

struct xml_request {
	const char *name;
	const char *uuid;
	uint32_t n_disks; /* every disk that xml_scan called cloned */
	const struct xml_new_disk *disks;
	uint32_t n_macs; /* as many as the source has */
	const char (*macs)[XML_MAC_TEXT];
	const char *nvram; /* NULL exactly when the source has none */
	bool dac_label;    /* write <seclabel model='dac' relabel='no'/>: capabilities list dac */
	/* The source itself is to stand on these disks: name, uuid, macs and nvram are
	 * its own, and nothing but the disks and the metadata is changed. */
	bool frozen;
	/* provenance, written as <lazyclone:clone> or <lazyclone:frozen> into <metadata> */
	const char *store;
	const char *source_name;
	const char *source_uuid;
	int64_t created_sec;
};

/* Whatever a disk's source was, the clone's is a raw file with nothing below it;
 * what is of qcow2 only goes. A generation id becomes an empty <genid/>: libvirt
 * draws a new one. A disk
 * that has <seclabel model='dac' relabel='no'/> already keeps it; xml_restore
 * cannot tell it from ours and drops it.
 *
 * Caller frees *ret_xml. *ret_changes (may be NULL): a NULL-terminated array of
 * lines for people ("disk vda: /a.img -> /mnt/..."), freed by xml_changes_free. */
int xml_rewrite(const char *xml, const struct xml_request *request, char **ret_xml,
	char ***ret_changes, struct err *err);
void xml_changes_free(char **changes);

/* Compare what libvirt made of it: -EREMOTEIO names the first difference. */
int xml_check(const char *defined_xml, const struct xml_request *request, struct err *err);

/* Our seven <driver> attributes go back to what was recorded; everything else
 * in the definition stays as the user has it now. */
struct xml_restore_request {
	uint32_t n_disks;
	const struct xml_new_disk *disks;
};

int xml_restore(const char *clone_xml, const struct xml_restore_request *request, char **ret_xml,
	struct err *err);

/* After hydrate: is every disk of request in place, and nothing of ours left? */
int xml_check_restored(const char *defined_xml, const struct xml_restore_request *request,
	struct err *err);

struct xml_provenance {
	bool frozen; /* no clone, but an original that moved on to a delta of its own */
	char *uuid; /* the domain's own, as written at cloning or freezing */
	char *store;
	char *source_name; /* frozen: its name at freezing, and in the store */
	char *source_uuid;
	int64_t created_sec;
};

/* 1 and *ret if the metadata is there and names the domain's own UUID, 0 if
 * not, -EINVAL for text that is no domain. */
int xml_provenance(const char *xml, struct xml_provenance *ret_provenance);
void xml_provenance_clear(struct xml_provenance *provenance);

#endif
