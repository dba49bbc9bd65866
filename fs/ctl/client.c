/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tool's end of the control socket: see ctl.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/ctl/ctl.h"
#include "fs/ctl/line.h"
#include "fs/ctl/message.h"
#include "fs/ctl/socket.h"
#include "fs/util/cleanup.h"

struct ctl {
	int fd;
	int timeout_ms;
	int ended; /* -errno of the exchange that failed: what comes now answers another request */
	struct line_reader reader;
};

static int open_socket(const char *path)
{
	/* Non-blocking: a daemon that hangs with a full backlog gives EAGAIN here. */
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	int rc = fd < 0 ? -errno : socket_address(path, &address);

	if (rc < 0)
		return rc;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == ENOENT || errno == ENOTDIR ? -ECONNREFUSED : -errno;
	if (!socket_peer_trusted(fd))
		return -EPERM;
	return steal_fd(&fd);
}

int ctl_connect(const struct id *store_id, struct ctl **ret_ctl, struct err *err)
{
	AUTO_CLOSE int fd = -1;
	char path[CTL_PATH_MAX];
	struct ctl *ctl;
	int rc = ctl_socket_path(store_id, path);

	if (rc < 0)
		return err_sys(err, rc, "path of the control socket");
	fd = open_socket(path);
	if (fd == -ECONNREFUSED) {
		err_set(err, fd, "the daemon of this store is not running");
		err_hint(err, "lazyclone mount");
		return fd;
	}
	if (fd < 0)
		return err_sys(err, fd, "control socket %s", path);
	ctl = calloc(1, sizeof(*ctl));
	if (!ctl)
		return err_sys(err, -ENOMEM, "control socket");
	ctl->fd = steal_fd(&fd);
	ctl->timeout_ms = CTL_TIMEOUT_MS;
	line_reader_init(&ctl->reader, ctl->fd, CTL_LINE_MAX);
	*ret_ctl = ctl;
	return 0;
}

void ctl_close(struct ctl *ctl)
{
	if (!ctl)
		return;
	line_reader_release(&ctl->reader);
	close(ctl->fd);
	free(ctl);
}

void ctl_set_timeout(struct ctl *ctl, int ms)
{
	ctl->timeout_ms = ms;
}

static int err_exchange(const struct ctl *ctl, struct err *err)
{
	switch (ctl->ended) {
	case -ENODATA:
	case -ECONNRESET:
		err_set(err, -ECONNREFUSED, "the daemon ended before it answered");
		break;
	case -ETIMEDOUT:
		err_set(err, -ETIMEDOUT, "the daemon did not answer in time");
		break;
	default:
		return err_sys(err, ctl->ended, "talking to the daemon");
	}
	err_hint(err, "it may have done what it was asked for, or do it still, or not: look "
		"(lazyclone info, lazyclone list), then run the command again");
	return ctl->ended == -ETIMEDOUT ? -ETIMEDOUT : -ECONNREFUSED;
}

static int exchange(struct ctl *ctl, const json_t *request, json_t **ret_reply, struct err *err)
{
	AUTO_FREE char *text = NULL;
	char *line;
	size_t len;
	int rc;

	if (ctl->ended)
		return err_exchange(ctl, err);
	rc = message_format(request, &text, &len);
	if (rc == 0 && len >= CTL_REQUEST_MAX)
		rc = -EMSGSIZE;
	if (rc < 0)
		return err_sys(err, rc, "talking to the daemon");
	rc = line_send(ctl->fd, text, len, ctl->timeout_ms);
	if (rc == 0 || rc == -EPIPE)
		rc = line_receive(&ctl->reader, ctl->timeout_ms, ctl->timeout_ms, &line, &len);
	ctl->ended = rc;
	if (rc < 0)
		return err_exchange(ctl, err);
	return message_parse(line, len, ret_reply, err);
}

int ctl_call(struct ctl *ctl, json_t *request, json_t **ret_reply, struct err *err)
{
	json_t *reply = NULL;
	int rc = request ? exchange(ctl, request, &reply, err)
			 : err_sys(err, -ENOMEM, "talking to the daemon");

	if (rc == 0)
		rc = message_result(reply, err);
	if (rc == 0 && ret_reply)
		*ret_reply = json_incref(reply);
	json_decref(reply);
	json_decref(request);
	return rc;
}

int ctl_status(struct ctl *ctl, json_t **ret_status, struct err *err)
{
	return ctl_call(ctl, json_pack("{s:s}", "verb", "status"), ret_status, err);
}

int ctl_hold(struct ctl *ctl, const char *source, char **ret_identity,
	uint64_t *ret_size_bytes, bool *ret_first, struct err *err)
{
	json_t *request = json_pack("{s:s, s:s}", "verb", "hold", "source", source);
	json_t *reply = NULL;
	json_int_t size;
	const char *text;
	char *copy;
	int rc = ctl_call(ctl, request, &reply, err);

	if (rc < 0)
		return rc;
	text = json_string_value(json_object_get(reply, "identity"));
	size = json_integer_value(json_object_get(reply, "size_bytes"));
	copy = text && size >= 0 ? strdup(text) : NULL;
	*ret_first = json_integer_value(json_object_get(reply, "holds")) == 1;
	json_decref(reply);
	if (!copy)
		return err_set(err, -EPROTO, "the daemon's answer to hold is not complete");
	*ret_identity = copy;
	*ret_size_bytes = (uint64_t)size;
	return 0;
}

int ctl_hold_known(struct ctl *ctl, const char *path, const char *identity, bool *ret_first,
	struct err *err)
{
	json_t *request = json_pack("{s:s, s:s, s:s}", "verb", "hold", "path", path, "identity",
		identity);
	json_t *reply = NULL;
	int rc = ctl_call(ctl, request, &reply, err);

	if (rc < 0)
		return rc;
	*ret_first = json_integer_value(json_object_get(reply, "holds")) == 1;
	json_decref(reply);
	return 0;
}

int ctl_attach(struct ctl *ctl, const char *clone, struct err *err)
{
	return ctl_call(ctl, json_pack("{s:s, s:s}", "verb", "attach", "clone", clone), NULL, err);
}

int ctl_detach(struct ctl *ctl, const char *clone, const struct id *id, struct err *err)
{
	char text[ID_TEXT];

	if (id)
		id_format(id, text);
	return ctl_call(ctl, json_pack("{s:s, s:s, s:s?}", "verb", "detach", "clone", clone, "id",
		id ? text : NULL), NULL, err);
}

int ctl_snapshot(struct ctl *ctl, const char *clone, const char *name, struct err *err)
{
	return ctl_call(ctl, json_pack("{s:s, s:s, s:s?}", "verb", "snapshot", "clone", clone,
		"name", name), NULL, err);
}

int ctl_reset(struct ctl *ctl, const char *clone, const char *to, struct err *err)
{
	return ctl_call(ctl, json_pack("{s:s, s:s, s:s?}", "verb", "reset", "clone", clone, "to",
		to), NULL, err);
}

int ctl_forget(struct ctl *ctl, const char *clone, const char *name, struct err *err)
{
	return ctl_call(ctl, json_pack("{s:s, s:s, s:s}", "verb", "forget", "clone", clone, "name",
		name), NULL, err);
}

int ctl_quota(struct ctl *ctl, const char *clone, uint64_t bytes, struct err *err)
{
	if (bytes > INT64_MAX)
		return err_set(err, -EINVAL, "clone %s: quota is out of range", clone);
	return ctl_call(ctl, json_pack("{s:s, s:s, s:I}", "verb", "quota", "clone", clone, "bytes",
		(json_int_t)bytes), NULL, err);
}

static bool get_count(const json_t *reply, const char *member, uint64_t *ret_value)
{
	const json_t *value = json_object_get(reply, member);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret_value = (uint64_t)json_integer_value(value);
	return true;
}

int ctl_relink(struct ctl *ctl, const char *clone, const char *target, const char *path,
	const char *identity, struct err *err)
{
	return ctl_call(ctl, json_pack("{s:s, s:s, s:s, s:s, s:s}", "verb", "relink", "clone",
		clone, "disk", target, "path", path, "identity", identity), NULL, err);
}

int ctl_check(struct ctl *ctl, const char *clone, const char *target, uint64_t from_block,
	struct ctl_checked *ret_checked, struct err *err)
{
	json_t *reply = NULL;
	bool whole;
	int rc = ctl_call(ctl, json_pack("{s:s, s:s, s:s, s:I}", "verb", "check", "clone", clone,
		"disk", target, "from", (json_int_t)from_block), &reply, err);

	if (rc < 0)
		return rc;
	whole = get_count(reply, "next_block", &ret_checked->next_block) &&
		get_count(reply, "end_block", &ret_checked->end_block) &&
		get_count(reply, "data_blocks", &ret_checked->data_blocks) &&
		get_count(reply, "bad_blocks", &ret_checked->bad_blocks) &&
		ret_checked->next_block <= ret_checked->end_block;
	json_decref(reply);
	return whole ? 0 : err_set(err, -EPROTO, "the daemon's answer to check is not complete");
}

int ctl_stop(struct ctl *ctl, struct err *err)
{
	return ctl_call(ctl, json_pack("{s:s}", "verb", "stop"), NULL, err);
}
