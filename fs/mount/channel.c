/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests in, replies out: see channel.h. */
#include "fs/mount/channel.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/mount/fuse.h"

static ssize_t receive(int fd, void *buf, size_t len, void *userdata)
{
	return read(fd, buf, len);
}

static ssize_t send_reply(int fd, struct iovec *iov, int count, void *userdata)
{
	return writev(fd, iov, count);
}

static const struct fuse_custom_io channel_io = {
	.read = receive,
	.writev = send_reply,
};

int channel_attach(struct fuse_session *session, int fd)
{
	int rc = fuse_session_custom_io(session, &channel_io, fd);

	if (rc == 0)
		return 0;
	return rc < -1 ? rc : -EIO;
}
