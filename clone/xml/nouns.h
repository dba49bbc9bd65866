/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the table of rules calls: conditions and rewriters, one file per noun. */
#ifndef CLONE_XML_NOUNS_H
#define CLONE_XML_NOUNS_H

#include <libxml/tree.h>
#include <stdbool.h>

#include "clone/xml/rules.h"

/* Conditions on any element. arg: "ATTRIBUTE=VALUE", or as said. */
bool when_attr(const xmlNode *node, const char *arg);
bool when_has_attr(const xmlNode *node, const char *arg);  /* attribute's name */
bool when_has_child(const xmlNode *node, const char *arg); /* element's name */
bool when_empty(const xmlNode *node, const char *arg);	   /* no text in it */

const char *type_name(const xmlNode *node); /* its type attribute */

/* disk.c */
const char *disk_format(const xmlNode *disk);
bool disk_is_readonly(const xmlNode *disk, const char *arg);
bool disk_is_empty(const xmlNode *disk, const char *arg);
bool disk_type_is(const xmlNode *disk, const char *arg); /* arg: type */
bool disk_type_unknown(const xmlNode *disk, const char *arg);
const char *disk_device(const xmlNode *disk);
bool disk_device_unknown(const xmlNode *disk, const char *arg);
bool format_unknown(const char *format); /* what a base cannot be */
bool disk_format_unknown(const xmlNode *disk, const char *arg);
bool disk_protocol_is(const xmlNode *disk, const char *arg); /* arg: "nbd", "http|https" */
const char *disk_protocol(const xmlNode *disk);
bool disk_volume_unnamed(const xmlNode *disk, const char *arg);
bool disk_source_relative(const xmlNode *disk, const char *arg);
bool seclabel_is_ours(const xmlNode *seclabel, const char *arg);
xmlNode *disk_label(const xmlNode *disk); /* our <seclabel> in its source, or NULL */
const char *disk_target(const xmlNode *disk);
const char *disk_source_path(const xmlNode *disk); /* NULL: none, or no path */
int new_disk_check(const struct xml_new_disk *new, struct err *err);
int disk_rewrite(struct rewrite *rewrite, xmlNode *disk);

/* chain.c: <backingStore> or <dataStore>, and all below it. */
bool chain_is_troubled(const xmlNode *node, const char *arg);
const char *chain_trouble(const xmlNode *node); /* why it cannot be read; NULL: it can */

/* nic.c */
bool nic_type_unknown(const xmlNode *nic, const char *arg);
bool nic_is_passthrough(const xmlNode *nic, const char *arg);
bool nic_tap_is_foreign(const xmlNode *nic, const char *arg);
int nic_rewrite(struct rewrite *rewrite, xmlNode *nic);
int nic_port_rewrite(struct rewrite *rewrite, xmlNode *parameters);
int nic_filter_note(struct rewrite *rewrite, xmlNode *parameter);

/* chardev.c */
bool chardev_binds_path(const xmlNode *chardev, const char *arg);
bool chardev_binds_port(const xmlNode *chardev, const char *arg);
int chardev_rewrite(struct rewrite *rewrite, xmlNode *chardev);

/* graphics.c */
bool graphics_socket_is_named(const xmlNode *node, const char *arg); /* <graphics> or <listen> */
bool graphics_has_ports(const xmlNode *graphics, const char *arg);
int graphics_rewrite(struct rewrite *rewrite, xmlNode *graphics);
int graphics_socket_rewrite(struct rewrite *rewrite, xmlNode *node);

/* identity.c */
const char *entry_name(const xmlNode *entry);
bool entry_is_identity(const xmlNode *entry, const char *arg);
int name_rewrite(struct rewrite *rewrite, xmlNode *name);
int uuid_rewrite(struct rewrite *rewrite, xmlNode *uuid);
int genid_rewrite(struct rewrite *rewrite, xmlNode *genid);
int nvram_rewrite(struct rewrite *rewrite, xmlNode *nvram);
bool loader_is_writable(const xmlNode *loader, const char *arg);

/* device.c */
bool tpm_is_emulated(const xmlNode *tpm, const char *arg);
bool vsock_is_fixed(const xmlNode *cid, const char *arg);
int vsock_rewrite(struct rewrite *rewrite, xmlNode *cid);
bool memory_is_persistent(const xmlNode *memory, const char *arg);
bool filesystem_is_readonly(const xmlNode *filesystem, const char *arg);
bool filesystem_has_socket(const xmlNode *filesystem, const char *arg);
bool alias_is_live(const xmlNode *alias, const char *arg);

/* commandline.c */
const char *argument_option(const xmlNode *argument); /* "-netdev", NULL: not known */
bool argument_is_shared(const xmlNode *argument, const char *arg);

#endif
