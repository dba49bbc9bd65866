/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text form of a fingerprint: one line of JSON.
 *
 *	{"format": 1, "size": 1234567, "leaf": 65536,
 *	 "leaves": [[0, "0123456789abcdef"], ...],
 *	 "full": {"span": 65536, "nodes": ["0123456789abcdef", ...], "root": "..."}}
 *
 * "full" is absent of a sample. Which leaves are in it, and the span, follow
 * from the size; they stand there for the reader, and a text that says another
 * thing is refused. So is one whose root does not follow from its nodes.
 */
#include "fs/base/fingerprint.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/fingerprint-tree.h"
#include "fs/base/raw.h"

#define FORMAT 1
#define HEX_DIGITS 16

static json_t *hex(uint64_t value)
{
	return json_sprintf("%016" PRIx64, value);
}

static int append(json_t *array, json_t *element)
{
	return json_array_append_new(array, element);
}

static json_t *pack_leaves(const struct fingerprint *print)
{
	json_t *leaves = json_array();
	int rc = 0;

	for (uint32_t i = 0; i < print->n_leaves; i++)
		rc |= append(leaves, json_pack("[I, o]", (json_int_t)print->leaves[i].number,
			hex(print->leaves[i].hash)));
	if (rc == 0)
		return leaves;
	json_decref(leaves);
	return NULL;
}

static json_t *pack_full(const struct fingerprint *print)
{
	json_t *nodes = json_array();
	int rc = 0;

	for (uint32_t i = 0; i < print->n_nodes; i++)
		rc |= append(nodes, hex(print->nodes[i]));
	if (rc == 0)
		return json_pack("{s:I, s:o, s:o}", "span", (json_int_t)print->span_bytes, "nodes",
			nodes, "root", hex(print->root));
	json_decref(nodes);
	return NULL;
}

int fingerprint_format(const struct fingerprint *print, char **ret_text)
{
	json_t *json = json_pack("{s:i, s:I, s:i, s:o}", "format", FORMAT, "size",
		(json_int_t)print->size_bytes, "leaf", (int)FINGERPRINT_LEAF_BYTES, "leaves",
		pack_leaves(print));
	int rc = json && print->full ? json_object_set_new(json, "full", pack_full(print)) : 0;
	char *text = json && rc == 0 ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

static bool get_hex(const json_t *json, uint64_t *ret_value)
{
	const char *text = json_string_value(json);

	if (!text || strlen(text) != HEX_DIGITS ||
		strspn(text, "0123456789abcdef") != HEX_DIGITS)
		return false;
	*ret_value = strtoull(text, NULL, 16);
	return true;
}

static bool is_number(const json_t *json, uint64_t value)
{
	return json_is_integer(json) && (uint64_t)json_integer_value(json) == value;
}

static bool get_leaves(const json_t *leaves, struct fingerprint *print)
{
	const json_t *leaf;
	size_t i;

	print->n_leaves = fingerprint_sample_count(print->size_bytes);
	if (json_array_size(leaves) != print->n_leaves)
		return false;
	json_array_foreach(leaves, i, leaf) {
		print->leaves[i].number = fingerprint_sample_number(
			print->size_bytes, (uint32_t)i);
		if (json_array_size(leaf) != 2 ||
			!is_number(json_array_get(leaf, 0), print->leaves[i].number) ||
			!get_hex(json_array_get(leaf, 1), &print->leaves[i].hash))
			return false;
	}
	return true;
}

static bool get_full(const json_t *full, struct fingerprint *print)
{
	const json_t *nodes = json_object_get(full, "nodes"), *node;
	size_t i;

	if (!full)
		return true;
	print->full = true;
	print->span_bytes = fingerprint_span(print->size_bytes);
	print->n_nodes = fingerprint_node_count(print->size_bytes);
	if (!is_number(json_object_get(full, "span"), print->span_bytes) ||
		json_array_size(nodes) != print->n_nodes)
		return false;
	json_array_foreach(nodes, i, node)
		if (!get_hex(node, &print->nodes[i]))
			return false;
	return get_hex(json_object_get(full, "root"), &print->root) &&
		print->root == fingerprint_root(print);
}

static bool get_all(const json_t *json, struct fingerprint *print)
{
	const json_t *size = json_object_get(json, "size");

	if (!is_number(json_object_get(json, "format"), FORMAT) ||
		!is_number(json_object_get(json, "leaf"), FINGERPRINT_LEAF_BYTES) ||
		!json_is_integer(size) || json_integer_value(size) <= 0 ||
		(uint64_t)json_integer_value(size) > RAW_SIZE_MAX)
		return false;
	print->size_bytes = (uint64_t)json_integer_value(size);
	return get_leaves(json_object_get(json, "leaves"), print) &&
		get_full(json_object_get(json, "full"), print);
}

int fingerprint_parse(const char *text, struct fingerprint **ret, struct err *err)
{
	struct fingerprint *print;
	json_t *json = NULL;

	if (strnlen(text, FINGERPRINT_TEXT_MAX + 1) <= FINGERPRINT_TEXT_MAX)
		json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	print = calloc(1, sizeof(*print));
	if (print && json_is_object(json) && get_all(json, print)) {
		json_decref(json);
		*ret = print;
		return 0;
	}
	json_decref(json);
	if (!print)
		return err_sys(err, -ENOMEM, "fingerprint of a base");
	free(print);
	return err_set(err, -EUCLEAN, "fingerprint of a base: a field is missing or wrong");
}
