/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the control socket is, and who is at its other end. */
#ifndef FS_CTL_SOCKET_H
#define FS_CTL_SOCKET_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fs/ctl/ctl.h"

/* Make the directory of a socket's path, and its parents. */
int socket_make_dir(const char *path);

int socket_address(const char *path, struct sockaddr_un *ret_address);

/* Is the other end root or this process' own user? */
bool socket_peer_trusted(int fd);

#endif
