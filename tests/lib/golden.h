/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Golden XML pairs: the files of tests/golden/xml and the requests they stand for.
 *
 *	NAME.in.xml     what goes in
 *	NAME.request    lines KEY=VALUE; every key has a default, so may the file
 *	NAME.out.xml    what must come out, or
 *	NAME.error      the errno's name, message and hint of the refusal
 *
 * Keys: op (rewrite, restore), name, uuid, nvram, dac (yes, no), store, source,
 * source-uuid, created, mac (once per interface), disk.TARGET (its new path),
 * driver.TARGET (op=restore: the recorded <driver>; without it there was none).
 */
#ifndef TESTS_LIB_GOLDEN_H
#define TESTS_LIB_GOLDEN_H

#include <stdbool.h>

#include "clone/xml/domain.h"

#define GOLDEN_DIR "tests/golden/xml"

struct golden {
	bool restore;
	struct xml_request request; /* all its texts are on the heap */
	struct xml_new_disk *disks;
	char (*macs)[XML_MAC_TEXT];
};

/* Names of all pairs, sorted, NULL-terminated; fails the test if there are none. */
char **golden_names(void);
void golden_names_free(char **names);

/* Content of GOLDEN_DIR/NAMESUFFIX, NULL if there is no such file. */
char *golden_read(const char *name, const char *suffix);
void golden_write(const char *name, const char *suffix, const char *text);

/* The request for a source: defaults, then the lines of text (NULL: none). */
void golden_request(const char *in_xml, const char *text, struct golden *ret_golden);
void golden_clear(struct golden *golden);

#endif
