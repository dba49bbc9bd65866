/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text of the store's label: see label.h. */
#include "fs/store/label.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/store/sealed.h"



bool label_is_temp(const char *entry)
{
	const char *end = strrchr(entry, '.');

	return strncmp(entry, LABEL_FILE ".", strlen(LABEL_FILE ".")) == 0 &&
	       strcmp(end, ".tmp") == 0;
}

int label_new(char **ret_text, size_t *ret_len)
{
	struct id id = id_new();

	return label_format(&id, ret_text, ret_len);
}

int label_format(const struct id *id, char **ret_text, size_t *ret_len)
{
	char text[ID_TEXT];
	json_t *object;
	int rc;

	id_format(id, text);
	object = json_pack("{s:s, s:I, s:s, s:s, s:s}", "id", text, "created",
		(json_int_t)time(NULL), "incompat", "0x1", "ro_compat", "0x0", "compat", "0x0");
	if (!object)
		return -ENOMEM;
	rc = sealed_format(object, LABEL_FORMAT, ret_text, ret_len);
	json_decref(object);
	return rc;
}

static int get_word(const json_t *object, const char *key, uint64_t *ret_word, struct err *err)
{
	const char *text = json_string_value(json_object_get(object, key));
	char *end = NULL;
	uint64_t word = 0;

	if (text && strlen(text) >= 3 && strlen(text) <= 18 && memcmp(text, "0x", 2) == 0 &&
		isxdigit((unsigned char)text[2]))
		word = strtoull(text + 2, &end, 16);
	if (!end || *end)
		return err_set(err, -EUCLEAN, "%s is no hexadecimal word", key);
	*ret_word = word;
	return 0;
}

static int label_from_json(const json_t *object, struct label *label, struct err *err)
{
	const char *id = json_string_value(json_object_get(object, "id"));
	uint64_t incompat = 0;
	uint64_t ro_compat = 0;
	uint64_t compat = 0;
	int rc;

	if (!id || id_parse(id, &label->id) < 0)
		return err_set(err, -EUCLEAN, "id is no id");
	rc = get_word(object, "incompat", &incompat, err);
	if (rc == 0)
		rc = get_word(object, "ro_compat", &ro_compat, err);
	if (rc == 0)
		rc = get_word(object, "compat", &compat, err);
	if (rc < 0)
		return rc;
	label->unknown_ro_compat = ro_compat & ~LABEL_KNOWN_RO_COMPAT;
	if (incompat & ~LABEL_KNOWN_INCOMPAT)
		return err_set(err, -EUCLEAN,
			"made by a newer lazyclone: unknown features 0x%" PRIx64,
			incompat & ~LABEL_KNOWN_INCOMPAT);
	if (!(incompat & LABEL_INCOMPAT_LAYERS))
		return err_set(err, -EUCLEAN, "made by a lazyclone from before its first release");
	return 0;
}

int label_parse(const char *text, size_t len, struct label *ret_label, struct err *err)
{
	struct label label = {.unknown_ro_compat = 0};
	json_t *object;
	int rc = sealed_parse(text, len, LABEL_FORMAT, &object, err);

	if (rc < 0)
		return rc;
	rc = label_from_json(object, &label, err);
	json_decref(object);
	if (rc == 0)
		*ret_label = label;
	return rc;
}
