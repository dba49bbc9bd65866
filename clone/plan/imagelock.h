/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's image locks on a file that is read as a whole: no QEMU may write it meanwhile.
 *
 * QEMU locks single bytes of an image with open-file-description locks: from
 * 100 on the permissions it uses, from 200 on those it denies to others. We
 * use consistent reads (100) and deny writing (201) and resizing (203).
 */
#ifndef CLONE_PLAN_IMAGELOCK_H
#define CLONE_PLAN_IMAGELOCK_H

/* Held until fd, which may be read-only, is closed. -EBUSY: a QEMU process
 * writes the image, or denies reading it. */
int imagelock_take(int fd);

#endif
