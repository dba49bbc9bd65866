/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages on the control socket: see message.h. */
#include "fs/ctl/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ctl/server.h"
#include "fs/util/cleanup.h"

/* Largest errno a reply may carry; the kernel's own limit is 4095. */
#define CODE_MAX 4095

int message_parse(const char *text, size_t len, json_t **ret_object, struct err *err)
{
	json_error_t why;
	json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);

	if (!object)
		return err_set(err, -EPROTO, "control message: %s", why.text);
	if (!json_is_object(object)) {
		json_decref(object);
		return err_set(err, -EPROTO, "control message: not an object");
	}
	*ret_object = object;
	return 0;
}

int message_string(const json_t *request, const char *member, size_t max, bool optional,
	const char **ret_text, struct err *err)
{
	const json_t *value = json_object_get(request, member);

	if (!value || json_is_null(value)) {
		if (!optional)
			return err_set(err, -EPROTO, "control message: no \"%s\"", member);
		*ret_text = NULL;
		return 0;
	}
	if (!json_is_string(value))
		return err_set(err, -EPROTO, "control message: \"%s\" is no string", member);
	if (json_string_length(value) > max)
		return err_set(err, -EPROTO, "control message: \"%s\" is too long", member);
	*ret_text = json_string_value(value);
	return 0;
}

int message_verb(const json_t *request, const char **ret_verb, struct err *err)
{
	return message_string(request, "verb", MESSAGE_VERB_MAX, false, ret_verb, err);
}

int message_format(const json_t *object, char **ret_text, size_t *ret_len)
{
	char *text = json_dumps(object, JSON_COMPACT);

	if (!text)
		return -ENOMEM;
	*ret_len = strlen(text);
	*ret_text = text;
	return 0;
}

int message_set_ok(json_t *reply)
{
	return json_object_set_new(reply, "ok", json_true()) < 0 ? -ENOMEM : 0;
}

json_t *ctl_text(const char *text)
{
	json_t *value = json_string(text);
	AUTO_FREE char *copy = NULL;

	if (value)
		return value;
	copy = strdup(text);
	for (char *c = copy; c && *c; c++)
		if (*c & 0x80)
			*c = '?';
	return copy ? json_string(copy) : NULL;
}

static int set_text(json_t *reply, const char *member, const char *text)
{
	return json_object_set_new(reply, member, ctl_text(text)) < 0 ? -ENOMEM : 0;
}

int message_set_error(json_t *reply, int code, const struct err *err)
{
	const char *message = err->message[0] ? err->message : strerror(-code);

	if (json_object_set_new(reply, "ok", json_false()) < 0 ||
		json_object_set_new(reply, "code", json_integer(-code)) < 0 ||
		set_text(reply, "message", message) < 0)
		return -ENOMEM;
	return err->hint[0] ? set_text(reply, "hint", err->hint) : 0;
}

int message_result(const json_t *reply, struct err *err)
{
	const char *message = json_string_value(json_object_get(reply, "message"));
	const char *hint = json_string_value(json_object_get(reply, "hint"));
	json_int_t code = json_integer_value(json_object_get(reply, "code"));
	int rc;

	if (json_is_true(json_object_get(reply, "ok")))
		return 0;
	if (code < 1 || code > CODE_MAX)
		return err_set(err, -EPROTO, "control message: a reply without a result");
	rc = err_set(err, -(int)code, "%s", message ? message : strerror((int)code));
	if (hint)
		err_hint(err, "%s", hint);
	return rc;
}
