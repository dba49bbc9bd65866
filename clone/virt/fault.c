/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table from libvirt's error codes to our errno classes: see fault.h. */
#include "clone/virt/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

/* What is not listed is -EIO: it failed, and libvirt's text says how. */
static const struct {
	int libvirt;
	int code;
} classes[] = {
	{VIR_ERR_NO_DOMAIN, -ENOENT},
	{VIR_ERR_NO_STORAGE_POOL, -ENOENT},
	{VIR_ERR_NO_STORAGE_VOL, -ENOENT},
	{VIR_ERR_DOM_EXIST, -EEXIST},
	{VIR_ERR_OPERATION_INVALID, -EBUSY}, /* the domain is in the wrong state */
	{VIR_ERR_RESOURCE_BUSY, -EBUSY},
	{VIR_ERR_BLOCK_COPY_ACTIVE, -EBUSY},
	{VIR_ERR_OPERATION_TIMEOUT, -ETIMEDOUT},
	{VIR_ERR_AGENT_UNRESPONSIVE, -ETIMEDOUT},
	{VIR_ERR_NO_SUPPORT, -EOPNOTSUPP},
	{VIR_ERR_OPERATION_UNSUPPORTED, -EOPNOTSUPP},
	{VIR_ERR_CONFIG_UNSUPPORTED, -EOPNOTSUPP},
	{VIR_ERR_ARGUMENT_UNSUPPORTED, -EOPNOTSUPP},
	{VIR_ERR_NO_CONNECT, -ECONNREFUSED},
	{VIR_ERR_INVALID_CONN, -ECONNREFUSED},
	{VIR_ERR_AUTH_FAILED, -EACCES},
	{VIR_ERR_AUTH_CANCELLED, -EACCES},
	{VIR_ERR_AUTH_UNAVAILABLE, -EACCES},
	{VIR_ERR_ACCESS_DENIED, -EACCES},
	{VIR_ERR_OPERATION_DENIED, -EACCES},
	{VIR_ERR_NO_MEMORY, -ENOMEM},
};

static int class_of(const virError *fault)
{
	if (!fault)
		return -EIO;
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (classes[i].libvirt == fault->code)
			return classes[i].code;
	/* System errors carry the errno they came from. */
	if (fault->code == VIR_ERR_SYSTEM_ERROR && fault->int1 > 0)
		return -fault->int1;
	return -EIO;
}

static const char *text_of(const virError *fault)
{
	return fault && fault->message ? fault->message : "libvirt does not say why";
}

int virt_fault(struct err *err, const char *fmt, ...)
{
	const virError *fault = virGetLastError();
	char what[ERR_MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(err, class_of(fault), "%s: %s", what, text_of(fault));
}

int virt_fault_connect(struct err *err, const char *uri)
{
	const virError *fault = virGetLastError();
	int code = class_of(fault);

	/* ENOENT of the socket must not read as "no such domain"; and whatever has no
	 * class of its own, it was libvirt that could not be reached. */
	if (code == -ENOENT || code == -ENXIO || code == -EIO)
		code = -ECONNREFUSED;
	err_set(err, code, "cannot connect to libvirt%s%s: %s", uri ? " at " : "", uri ? uri : "",
		text_of(fault));
	if (geteuid() != 0 && uri && strstr(uri, "/system"))
		err_hint(err, "run it as root, join the group libvirt, or use your own machines: "
			      "lazyclone -c qemu:///session ...");
	else if (code == -ECONNREFUSED && geteuid() == 0)
		err_hint(err, "start it: systemctl start libvirtd");
	return code;
}

static void print_nothing(void *ctx, virErrorPtr fault)
{
}

void virt_fault_silence(void)
{
	virSetErrorFunc(NULL, print_nothing);
}
