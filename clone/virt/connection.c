/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections: only to this host's qemu driver; its directories and QEMU's user. */
#include "clone/virt/connection.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <libvirt/virterror.h>

#include "clone/virt/fault.h"
#include "clone/virt/virt.h"

static int refuse(struct err *err, const char *uri, const char *why)
{
	err_set(err, -EOPNOTSUPP, "the connection %s cannot be used: %s", uri, why);
	err_hint(err, "clones are made where the machines are: use qemu:///system or "
		      "qemu:///session on that host");
	return -EOPNOTSUPP;
}

/* Asked before connecting, so that no ssh is started only to be refused. A
 * name without "://" is an alias of libvirt.conf: judged by what it leads to. */
static int check_uri(const char *uri, struct err *err)
{
	const char *rest = strstr(uri, "://");
	size_t scheme = rest ? (size_t)(rest - uri) : 0;

	if (!rest)
		return 0;
	if (strncasecmp(uri, "qemu", 4) != 0 || (scheme > 4 && uri[4] != '+'))
		return refuse(err, uri, "it is not libvirt's qemu driver");
	if (scheme > 4 && (scheme != 9 || strncasecmp(uri, "qemu+unix", 9) != 0))
		return refuse(err, uri, "it leads to another host");
	if (rest[3] != '/')
		return refuse(err, uri, "it leads to another host");
	return 0;
}

static bool has_path(const char *uri, const char *path)
{
	const char *at = strstr(uri, "://");
	size_t len = strlen(path);

	at = at ? at + 3 : uri;
	return strncmp(at, path, len) == 0 && (at[len] == '\0' || at[len] == '?');
}

/* For root libvirt takes qemu:///session to the system's daemon: then that is
 * its name, or a record made under one name is a stranger under the other. */
static int settle_uri(struct virt *virt, struct err *err)
{
	char *system;

	if (geteuid() != 0 || strcmp(virt->uri, "qemu:///session") != 0)
		return 0;
	system = strdup("qemu:///system");
	if (!system)
		return err_sys(err, -ENOMEM, "cannot connect to libvirt");
	free(virt->uri);
	virt->uri = system;
	return 0;
}

static int check_connected(struct virt *virt, struct err *err)
{
	const char *driver = virConnectGetType(virt->conn);
	int rc;

	virt->uri = virConnectGetURI(virt->conn);
	if (!driver || !virt->uri)
		return virt_fault(err, "libvirt does not say what it is connected to");
	rc = check_uri(virt->uri, err);
	if (rc == 0)
		rc = settle_uri(virt, err);
	if (rc < 0)
		return rc;
	virt->session = has_path(virt->uri, "/session");
	if (strcasecmp(driver, "QEMU") != 0 || (!virt->session && !has_path(virt->uri, "/system")))
		return refuse(err, virt->uri, "it is not libvirt's qemu driver");
	return 0;
}

int virt_connect(const char *uri, struct virt **ret_virt, struct err *err)
{
	const char *asked = uri ? uri : getenv("LIBVIRT_DEFAULT_URI");
	struct virt *virt;
	int rc;

	rc = asked && asked[0] ? check_uri(asked, err) : 0;
	if (rc < 0)
		return rc;
	virt = calloc(1, sizeof(*virt));
	if (!virt)
		return err_sys(err, -ENOMEM, "cannot connect to libvirt");
	virt_fault_silence();
	virt->conn = virConnectOpen(uri);
	rc = virt->conn ? check_connected(virt, err) : virt_fault_connect(err, asked);
	if (rc < 0) {
		virt_close(virt);
		return rc;
	}
	*ret_virt = virt;
	return 0;
}

void virt_close(struct virt *virt)
{
	if (!virt)
		return;
	if (virt->conn)
		virConnectClose(virt->conn);
	free(virt->uri);
	free(virt);
}

const char *virt_uri(const struct virt *virt)
{
	return virt->uri;
}

bool virt_is_session(const struct virt *virt)
{
	return virt->session;
}

/* libvirt tells this nowhere; it is the driver's fixed layout. */
int virt_nvram_dir(const struct virt *virt, char **ret_dir)
{
	const char *config = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	char dir[PATH_MAX];
	int n;

	if (!virt->session)
		n = snprintf(dir, sizeof(dir), "/var/lib/libvirt/qemu/nvram");
	else if (config && config[0] == '/')
		n = snprintf(dir, sizeof(dir), "%s/libvirt/qemu/nvram", config);
	else if (home && home[0] == '/')
		n = snprintf(dir, sizeof(dir), "%s/.config/libvirt/qemu/nvram", home);
	else
		return -ENOENT;
	if (n >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	*ret_dir = strdup(dir);
	return *ret_dir ? 0 : -ENOMEM;
}

/* The text between open and close, searched from *at, which moves behind it. */
static bool between(const char **at, const char *open, const char *close, const char **ret_from,
	size_t *ret_len)
{
	const char *from = strstr(*at, open);
	const char *to = from ? strstr(from + strlen(open), close) : NULL;

	if (!to)
		return false;
	*ret_from = from + strlen(open);
	*ret_len = (size_t)(to - *ret_from);
	*at = to + strlen(close);
	return true;
}

/* <baselabel type='kvm'>+64055:+109</baselabel> */
static bool parse_baselabel(const char *text, size_t len, uid_t *ret_uid, gid_t *ret_gid)
{
	char copy[64];
	unsigned int uid, gid;
	const char *value = memchr(text, '>', len);

	if (!value)
		return false;
	value++;
	len -= (size_t)(value - text);
	if (len >= sizeof(copy))
		return false;
	memcpy(copy, value, len);
	copy[len] = '\0';
	if (sscanf(copy, "+%10u:+%10u", &uid, &gid) != 2)
		return false;
	*ret_uid = uid;
	*ret_gid = gid;
	return true;
}

static bool find_dac(const char *capabilities, const char **ret_label, size_t *ret_len)
{
	const char *at = capabilities;
	const char *model;
	size_t len;

	while (between(&at, "<secmodel>", "</secmodel>", &model, &len)) {
		const char *inner = model;

		if (!memmem(model, len, "<model>dac</model>", strlen("<model>dac</model>")))
			continue;
		return between(&inner, "<baselabel", "</baselabel>", ret_label, ret_len) &&
			inner <= model + len;
	}
	return false;
}

int virt_dac_owner(struct virt *virt, bool *ret_labelled, uid_t *ret_uid, gid_t *ret_gid,
	struct err *err)
{
	AUTO_FREE char *capabilities = virConnectGetCapabilities(virt->conn);
	const char *label;
	size_t len;

	if (!capabilities)
		return virt_fault(err, "cannot read libvirt's capabilities");
	*ret_labelled = find_dac(capabilities, &label, &len);
	*ret_uid = geteuid();
	*ret_gid = getegid();
	if (*ret_labelled && !parse_baselabel(label, len, ret_uid, ret_gid))
		return err_set(err, -EIO, "libvirt's capabilities do not say whom QEMU runs as");
	return 0;
}
