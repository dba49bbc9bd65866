/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any bytes as the journal of a killed run. room: clone/state */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clone/state/journal_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each entry as a line must be that entry again. */
static void check_entry(const struct journal_entry *entry)
{
	struct journal_entry *back;
	uint32_t count;
	size_t good;
	char *line;

	if (journal_line(entry, &line) < 0 ||
		journal_parse(line, strlen(line), &back, &count, &good, NULL) < 0)
		abort();
	if (count != 1 || good != strlen(line) || back->kind != entry->kind ||
		back->dev != entry->dev || back->ino != entry->ino || !back->name != !entry->name ||
		(entry->name && strcmp(back->name, entry->name) != 0))
		abort();
	journal_entries_free(back, count);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_entry *entries;
	uint32_t count;
	size_t good;

	if (journal_parse((const char *)data, size, &entries, &count, &good, NULL) < 0)
		return 0;
	if (good > size || (good > 0 && data[good - 1] != '\n'))
		abort();
	for (uint32_t i = 0; i < count; i++)
		check_entry(&entries[i]);
	journal_entries_free(entries, count);
	return 0;
}
