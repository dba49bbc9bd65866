/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of rules: what becomes of each element of a domain (rules.h).
 *
 * Order matters within one path: refusals of special cases come first, the
 * general row last. Elements without a row are kept.
 */
#include "clone/xml/rules.h"

#include "clone/xml/nouns.h"

#define CHARDEV "serial|parallel|console|channel|redirdev|smartcard"

#define HINT_TWIN                                                                                  \
	"two machines cannot use it at once: take it out of the source's definition "              \
	"(virsh edit), or give the clone one of its own after cloning the rest"
#define HINT_RAW "copy it into a raw image file (qemu-img convert -O raw) and use that"
#define WHY_NETWORK "images on the network cannot be cloned yet"
#define HINT_NETWORK(how) how ", or " HINT_RAW
#define WHY_CHAIN "its image, or one below, cannot be read"
#define WHY_ENCRYPTED "an encrypted image cannot be cloned yet"
#define HINT_ENCRYPTED                                                                             \
	"decrypt it into a raw image (qemu-img convert --object secret,id=k,file=KEYFILE "         \
	"--image-opts driver=luks,key-secret=k,file.filename=IMAGE -O raw NEW) and use that"
#define WHY_ARGUMENT "a path, port or identity of the source would be the same in both machines"
#define HINT_PTY                                                                                   \
	"use type='pty' (a channel: a socket without a path) in the source, or take it out "       \
	"(virsh edit)"
#define HINT_LISTEN "use <listen type='socket'/> without a path: libvirt then names one per machine"
#define HINT_SYSINFO                                                                               \
	"take the entry out of the source's <sysinfo> (virsh edit): a clone needs its own, and "   \
	"libvirt gives it its UUID without an entry"

/* clang-format off */
const struct row rules[] = {
	/* ---- identity ---- */
	{ "name", REWRITTEN, .rewrite = name_rewrite },
	{ "uuid", REWRITTEN, .rewrite = uuid_rewrite },
	{ "hwuuid", REFUSED, .why = "a second hardware UUID would be the same in both machines",
		.hint = "take it out of the source's definition (virsh edit)" },
	{ "genid", REWRITTEN, .rewrite = genid_rewrite },
	{ "title", DROPPED, .why = "dropped" },
	{ "description", .rule = KEPT_WHOLE },
	{ "metadata", .rule = KEPT_WHOLE }, /* ours is put in by provenance.c */
	{ "sysinfo/system|baseBoard|chassis|processor/entry", REFUSED, .when = entry_is_identity,
		.why = "an identity of the source would be the same in both machines",
		.hint = HINT_SYSINFO, .detail = entry_name },
	{ "sysinfo/entry", KEPT, .paths = ". file" }, /* fwcfg: read by QEMU only */
	{ "sysinfo/*/entry", KEPT, .paths = "." },

	/* ---- firmware and boot ---- */
	{ "os/loader", REFUSED, .when = loader_is_writable,
		.why = "the firmware image is writable and would be shared",
		.hint = "set readonly='yes' and use an <nvram> for the variables" },
	{ "os/loader", KEPT, .paths = "." },
	{ "os/nvram", REFUSED, .when = when_has_child, .arg = "source",
		.why = "NVRAM with a nested <source> cannot be cloned yet",
		.hint = "use the text form, <nvram>PATH</nvram>" },
	{ "os/nvram", REFUSED, .when = when_has_attr, .arg = "type",
		.why = "NVRAM with a source type cannot be cloned yet",
		.hint = "use the text form, <nvram>PATH</nvram>" },
	/* Without a path libvirt names a file after the domain's own name. */
	{ "os/nvram", KEPT, .when = when_empty, .paths = "template" },
	{ "os/nvram", REWRITTEN, .rewrite = nvram_rewrite, .paths = ". template" },
	{ "os/varstore", REFUSED, .when = when_has_attr, .arg = "path",
		.why = "a variable store cannot be cloned yet" },
	{ "os/varstore", KEPT, .paths = "template" },
	{ "os/kernel|initrd|dtb|shim|cmdline|init|initarg|initdir|initenv", KEPT, .paths = "." },
	{ "os/acpi/table", KEPT, .paths = "." },

	/* ---- resources ---- */
	{ "resource/partition", KEPT, .paths = "." },
	{ "blkiotune/device/path", KEPT, .paths = "." },
	{ "launchSecurity", .rule = KEPT_WHOLE },
	{ "seclabel", REFUSED, .when = when_attr, .arg = "type=static",
		.why = "a static security label would be the same in both machines",
		.hint = "use a dynamic label (type='dynamic') in the source" },
	/* Of a dynamic label: what the running machine was given. */
	{ "seclabel/label|imagelabel", .rule = DROPPED },

	/* ---- disks ---- */
	{ "devices/disk", REFUSED, .when = when_attr, .arg = "device=lun",
		.why = "a SCSI device passed through whole is not an image", .hint = HINT_TWIN },
	{ "devices/disk", REFUSED, .when = disk_type_is, .arg = "nvme",
		.why = "a host NVMe device belongs to one machine", .hint = HINT_TWIN },
	{ "devices/disk", REFUSED, .when = disk_type_is, .arg = "vhostuser",
		.why = "a vhost-user server serves one machine", .hint = HINT_TWIN },
	{ "devices/disk", REFUSED, .when = disk_type_is, .arg = "vhostvdpa",
		.why = "a vDPA device belongs to one machine", .hint = HINT_TWIN },
	{ "devices/disk", KEPT_WHOLE, .when = disk_is_readonly },
	{ "devices/disk", KEPT_WHOLE, .when = disk_is_empty },
	{ "devices/disk", REFUSED, .when = when_attr, .arg = "device=floppy",
		.why = "a writable floppy disk cannot be cloned yet",
		.hint = "make it <readonly/>, or eject it" },
	{ "devices/disk", REFUSED, .when = disk_device_unknown,
		.why = "the kind of the device is not understood", .detail = disk_device },
	{ "devices/disk", REFUSED, .when = when_has_child, .arg = "shareable",
		.why = "a disk that machines share cannot be cloned yet",
		.hint = "take <shareable/> out of the source if the clone shall have its own copy" },
	{ "devices/disk", REFUSED, .when = when_has_child, .arg = "transient",
		.why = "a transient disk cannot be cloned yet",
		.hint = "take <transient/> out of the source: a clone's disk is thrown away by reset" },
	{ "devices/disk", REFUSED, .when = when_has_child, .arg = "mirror",
		.why = "a block job is copying it",
		.hint = "let the job end (virsh blockjob), then clone" },
	{ "devices/disk", REFUSED, .when = disk_protocol_is, .arg = "rbd", .why = WHY_NETWORK,
		.hint = HINT_NETWORK("map it to a block device (rbd map) and use type='block'"),
		.detail = disk_protocol },
	{ "devices/disk", REFUSED, .when = disk_protocol_is, .arg = "nbd", .why = WHY_NETWORK,
		.hint = HINT_NETWORK("connect it to a block device (nbd-client) and use type='block'"),
		.detail = disk_protocol },
	{ "devices/disk", REFUSED, .when = disk_protocol_is, .arg = "iscsi", .why = WHY_NETWORK,
		.hint = HINT_NETWORK("let the host log in (iscsiadm, or a pool of type iscsi) and use "
			"type='block'"),
		.detail = disk_protocol },
	{ "devices/disk", REFUSED, .when = disk_protocol_is, .arg = "gluster", .why = WHY_NETWORK,
		.hint = HINT_NETWORK("mount it (mount -t glusterfs) and use type='file'"),
		.detail = disk_protocol },
	{ "devices/disk", REFUSED, .when = disk_type_is, .arg = "network", .why = WHY_NETWORK,
		.hint = HINT_RAW, .detail = disk_protocol },
	{ "devices/disk", REFUSED, .when = disk_type_is, .arg = "dir",
		.why = "a writable directory shown as a disk cannot be cloned",
		.hint = "make it <readonly/>" },
	{ "devices/disk", REFUSED, .when = disk_type_unknown,
		.why = "the type of its source is not understood", .hint = HINT_RAW,
		.detail = type_name },
	{ "devices/disk", REFUSED, .when = disk_volume_unnamed,
		.why = "it does not name its pool and volume" },
	{ "devices/disk", REFUSED, .when = disk_format_unknown,
		.why = "only raw and qcow2 images can be cloned", .hint = HINT_RAW,
		.detail = disk_format },
	{ "devices/disk", REFUSED, .when = disk_source_relative,
		.why = "its image is not named by an absolute path" },
	{ "devices/disk", REWRITTEN, .rewrite = disk_rewrite },
	{ "devices/disk/encryption", REFUSED, .why = WHY_ENCRYPTED, .hint = HINT_ENCRYPTED },
	{ "devices/disk/driver/metadata_cache", DROPPED, .why = "dropped: it is of qcow2 only" },
	{ "devices/disk/source", REFUSED, .when = when_has_attr, .arg = "fdgroup",
		.why = "an image passed as an open descriptor cannot be cloned", .hint = HINT_RAW },
	{ "devices/disk/source", KEPT, .paths = "file dev" },
	{ "devices/disk/source/encryption", REFUSED, .why = WHY_ENCRYPTED,
		.hint = HINT_ENCRYPTED },
	{ "devices/disk/source/slices", REFUSED,
		.why = "a slice of an image cannot be cloned yet",
		.hint = "copy the slice into an image of its own (qemu-img convert --image-opts "
			"driver=raw,offset=N,size=N,file.filename=FILE -O raw NEW) and use that" },
	{ "devices/disk/source/dataStore", REFUSED, .when = chain_is_troubled, .why = WHY_CHAIN,
		.hint = HINT_RAW, .detail = chain_trouble },
	{ "devices/disk/source/dataStore", .rule = DROPPED },
	{ "devices/disk/source/reservations", REFUSED,
		.why = "persistent reservations are of one machine", .hint = HINT_TWIN },
	{ "devices/disk/source/seclabel", KEPT, .when = seclabel_is_ours },
	{ "devices/disk/source/seclabel", REFUSED,
		.why = "a security label of its own cannot be cloned yet",
		.hint = "take the <seclabel> out of the disk's <source>" },
	{ "devices/disk/backingStore", REFUSED, .when = chain_is_troubled, .why = WHY_CHAIN,
		.hint = HINT_RAW, .detail = chain_trouble },
	{ "devices/disk/backingStore", .rule = KEPT_WHOLE }, /* disk.c replaces it */
	{ "devices/disk/serial|wwn|vendor|product", KEPT, .paths = "." },

	/* ---- other storage ---- */
	{ "devices/filesystem", REFUSED, .when = filesystem_has_socket,
		.why = "a virtiofs server of one's own serves one machine", .hint = HINT_TWIN },
	{ "devices/filesystem", KEPT_WHOLE, .when = filesystem_is_readonly },
	{ "devices/filesystem", REFUSED, .why = "a writable directory would be shared",
		.hint = "make it <readonly/>, or take it out of the source (virsh edit)" },
	{ "devices/memory", REFUSED, .when = memory_is_persistent,
		.why = "persistent memory is storage that would be shared", .hint = HINT_TWIN },
	{ "devices/shmem", REFUSED, .why = "memory shared between machines cannot be cloned",
		.hint = HINT_TWIN },
	{ "devices/lease", REFUSED, .why = "a lock lease belongs to one machine",
		.hint = HINT_TWIN },
	{ "devices/pstore", REFUSED, .why = "a persistent store of crash logs would be shared",
		.hint = HINT_TWIN },
	{ "devices/tpm", REFUSED, .when = tpm_is_emulated,
		.why = "the state of an emulated TPM cannot be cloned yet",
		.hint = "take the <tpm> out of the source if its guest does not need it" },
	{ "devices/tpm", REFUSED, .why = "a TPM outside of QEMU belongs to one machine",
		.hint = HINT_TWIN },

	/* ---- network ---- */
	{ "devices/interface", REFUSED, .when = when_attr, .arg = "type=hostdev",
		.why = "a network device of the host belongs to one machine", .hint = HINT_TWIN },
	{ "devices/interface", REFUSED, .when = when_attr, .arg = "type=vhostuser",
		.why = "a vhost-user server serves one machine", .hint = HINT_TWIN },
	{ "devices/interface", REFUSED, .when = when_attr, .arg = "type=vdpa",
		.why = "a vDPA device belongs to one machine", .hint = HINT_TWIN },
	{ "devices/interface", REFUSED, .when = when_attr, .arg = "type=server",
		.why = "a listening port would be the same in both machines", .hint = HINT_TWIN },
	{ "devices/interface", REFUSED, .when = when_attr, .arg = "type=udp",
		.why = "a bound port would be the same in both machines", .hint = HINT_TWIN },
	{ "devices/interface", REFUSED, .when = nic_type_unknown,
		.why = "the type of the interface is not understood", .detail = type_name },
	{ "devices/interface", REFUSED, .when = nic_is_passthrough,
		.why = "a host device in passthrough mode belongs to one machine",
		.hint = "use mode='bridge' or a network" },
	{ "devices/interface", REFUSED, .when = nic_tap_is_foreign,
		.why = "a tap device made beforehand belongs to one machine",
		.hint = "use a bridge or a network, or let libvirt make the tap" },
	{ "devices/interface", REWRITTEN, .rewrite = nic_rewrite },
	{ "devices/interface/script|downscript", KEPT, .paths = "path" },
	{ "devices/interface/backend", REFUSED, .when = when_has_attr, .arg = "logFile",
		.why = "both machines would write the same log file",
		.hint = "take the logFile attribute out of the source (virsh edit)" },
	{ "devices/interface/backend", KEPT, .paths = "tap vhost" },
	{ "devices/interface/portForward", REFUSED,
		.why = "a forwarded port of the host can be bound by one machine",
		.hint = HINT_TWIN },
	{ "devices/interface/virtualport", REFUSED, .when = when_attr, .arg = "type=midonet",
		.why = "a MidoNet port belongs to one machine", .hint = HINT_TWIN },
	{ "devices/interface/virtualport/parameters", REWRITTEN, .rewrite = nic_port_rewrite },
	{ "devices/interface/filterref/parameter", REWRITTEN, .rewrite = nic_filter_note },

	/* ---- character devices ---- */
	{ "devices/" CHARDEV, REFUSED, .when = when_has_child, .arg = "log",
		.why = "both machines would write the same log file",
		.hint = "take the <log> out of the source (virsh edit)" },
	{ "devices/" CHARDEV, REFUSED, .when = when_attr, .arg = "type=file",
		.why = "both machines would write the same file", .hint = HINT_PTY },
	{ "devices/" CHARDEV, REFUSED, .when = when_attr, .arg = "type=pipe",
		.why = "both machines would use the same pipe", .hint = HINT_PTY },
	{ "devices/" CHARDEV, REFUSED, .when = when_attr, .arg = "type=dev",
		.why = "a device of the host belongs to one machine", .hint = HINT_PTY },
	{ "devices/" CHARDEV, REFUSED, .when = chardev_binds_path,
		.why = "both machines would listen on the same socket", .hint = HINT_PTY },
	{ "devices/" CHARDEV, REFUSED, .when = chardev_binds_port,
		.why = "both machines would listen on the same port", .hint = HINT_PTY },
	{ "devices/smartcard", REFUSED, .when = when_attr, .arg = "mode=host",
		.why = "a smart card reader of the host belongs to one machine",
		.hint = HINT_TWIN },
	{ "devices/" CHARDEV, REWRITTEN, .rewrite = chardev_rewrite, .paths = "tty" },
	{ "devices/" CHARDEV "/source", KEPT, .paths = "path" },
	{ "devices/smartcard/database|certificate", KEPT, .paths = "." },
	{ "devices/rng/backend", REFUSED, .when = chardev_binds_path,
		.why = "both machines would listen on the same socket", .hint = HINT_TWIN },
	{ "devices/rng/backend", REFUSED, .when = chardev_binds_port,
		.why = "both machines would listen on the same port", .hint = HINT_TWIN },
	{ "devices/rng/backend", KEPT, .paths = "." },
	{ "devices/rng/backend/source", KEPT, .paths = "path" },
	{ "devices/vsock/cid", REFUSED, .when = vsock_is_fixed,
		.why = "a fixed context id can be used by one machine",
		.hint = "use <cid auto='yes'/> in the source" },
	{ "devices/vsock/cid", REWRITTEN, .rewrite = vsock_rewrite },

	/* ---- display and sound ---- */
	{ "devices/graphics", REFUSED, .when = graphics_socket_is_named,
		.why = "both machines would listen on the same socket",
		.hint = HINT_LISTEN },
	{ "devices/graphics", REFUSED, .when = when_has_attr, .arg = "address",
		.why = "both machines would use the same D-Bus address",
		.hint = "take the address attribute out of the source (virsh edit)" },
	{ "devices/graphics", REWRITTEN, .rewrite = graphics_rewrite,
		.when = graphics_has_ports, .paths = "socket" },
	{ "devices/graphics", KEPT, .paths = "xauth socket" },
	{ "devices/graphics/listen", REFUSED, .when = graphics_socket_is_named,
		.why = "both machines would listen on the same socket",
		.hint = HINT_LISTEN },
	{ "devices/graphics/listen", REWRITTEN, .rewrite = graphics_socket_rewrite,
		.paths = "socket" },
	{ "devices/graphics/gl", KEPT, .paths = "rendernode" },
	{ "devices/video/model/acceleration", KEPT, .paths = "rendernode" },
	{ "devices/audio", REFUSED, .when = when_attr, .arg = "type=file",
		.why = "both machines would write the same sound file",
		.hint = "use another type of <audio> in the source" },
	{ "devices/audio", KEPT, .paths = "serverName runtimeDir dev" },
	{ "devices/audio/input|output", KEPT, .paths = "dev name" },

	/* ---- the host's own ---- */
	{ "devices/hostdev", REFUSED, .why = "a device of the host belongs to one machine",
		.hint = HINT_TWIN },
	{ "devices/emulator", KEPT, .paths = "." },
	{ "devices/input/source", KEPT, .paths = "dev evdev" },
	{ "devices/*/alias", DROPPED, .when = alias_is_live },

	/* ---- QEMU's own command line ---- */
	{ "qemu:commandline/qemu:arg|env", REFUSED, .when = argument_is_shared,
		.why = WHY_ARGUMENT,
		.hint = "take the argument out of the source (virsh edit)",
		.detail = argument_option },
	{ "qemu:override/qemu:device/qemu:frontend/qemu:property", REFUSED,
		.when = argument_is_shared,
		.why = WHY_ARGUMENT,
		.hint = "take the property out of the source (virsh edit)" },
};
/* clang-format on */

const size_t n_rules = sizeof(rules) / sizeof(rules[0]);
