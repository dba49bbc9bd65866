/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's last error as one of ours: the class from one table, libvirt's own words. */
#ifndef CLONE_VIRT_FAULT_H
#define CLONE_VIRT_FAULT_H

#include "fs/util/err.h"

/* Set err to "WHAT: libvirt's message" from the calling thread's last error;
 * returns its -errno. */
int virt_fault(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same while connecting, where a missing socket is "libvirtd does not run". */
int virt_fault_connect(struct err *err, const char *uri);

/* libvirt prints errors on stderr unless it is told not to. */
void virt_fault_silence(void);

#endif
