/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages on the control socket: text to JSON object and back, errors in replies. */
#ifndef FS_CTL_MESSAGE_H
#define FS_CTL_MESSAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "fs/util/err.h"

#define MESSAGE_VERB_MAX 32

/* Any bytes in; an object without duplicate members out, or -EPROTO. */
int message_parse(const char *text, size_t len, json_t **ret_object, struct err *err);

/* The verb of a request: at most MESSAGE_VERB_MAX bytes, or -EPROTO. */
int message_verb(const json_t *request, const char **ret_verb, struct err *err);

/* A string member of at most max bytes. -EPROTO if it is missing (a null or
 * missing one gives NULL when it is optional), no string or too long. */
int message_string(const json_t *request, const char *member, size_t max, bool optional,
	const char **ret_text, struct err *err);

/* One line; caller frees *ret_text. */
int message_format(const json_t *object, char **ret_text, size_t *ret_len);

/* Make reply (an object) one of success, or of the failure in err. */
int message_set_ok(json_t *reply);
int message_set_error(json_t *reply, int code, const struct err *err);

/* The result a reply carries: 0, or the -errno with its message and hint. */
int message_result(const json_t *reply, struct err *err);

#endif
