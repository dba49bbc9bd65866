/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The control socket's place and peers: see socket.h and ctl.h. */
#include "fs/ctl/socket.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/util/cleanup.h"

static bool is_absolute(const char *path)
{
	return path && path[0] == '/';
}

/* A user's directory of sockets, in the order ctl.h gives. */
static int user_dir(char *dir, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const char *data = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");
	int n;

	if (is_absolute(runtime)) {
		n = snprintf(dir, size, "%s/lazyclone", runtime);
		return n >= (int)size ? -ENAMETOOLONG : 0;
	}
	n = snprintf(dir, size, "/run/user/%u", (unsigned int)geteuid());
	if (access(dir, W_OK | X_OK) == 0)
		n = snprintf(dir, size, "/run/user/%u/lazyclone", (unsigned int)geteuid());
	else if (is_absolute(data))
		n = snprintf(dir, size, "%s/lazyclone/run", data);
	else if (is_absolute(home))
		n = snprintf(dir, size, "%s/.local/share/lazyclone/run", home);
	else
		return -ENOENT;
	return n >= (int)size ? -ENAMETOOLONG : 0;
}

int ctl_socket_path(const struct id *store_id, char path[static CTL_PATH_MAX])
{
	char dir[PATH_MAX] = "/run/lazyclone";
	char id[ID_TEXT];
	int rc = geteuid() == 0 ? 0 : user_dir(dir, sizeof(dir));

	if (rc < 0)
		return rc;
	id_format(store_id, id);
	if (snprintf(path, CTL_PATH_MAX, "%s/%s.sock", dir, id) >= CTL_PATH_MAX)
		return -ENAMETOOLONG;
	return 0;
}

int socket_make_dir(const char *path)
{
	AUTO_FREE char *dir = strdup(path);

	if (!dir)
		return -ENOMEM;
	for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		/* A user's sockets are nobody else's business; root's answer everybody,
		 * if only to say no. */
		mode_t mode = geteuid() == 0 || strchr(slash + 1, '/') ? 0755 : 0700;

		*slash = '\0';
		if (mkdir(dir, mode) == 0)
			chmod(dir, mode); /* whatever the umask is */
		else if (errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

int socket_address(const char *path, struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	*ret_address = address;
	return 0;
}

bool socket_peer_trusted(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}
