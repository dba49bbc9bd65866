/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Golden XML pairs: see golden.h. */
#include "tests/lib/golden.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"

#define SUFFIX ".in.xml"

static int is_input(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > strlen(SUFFIX) && strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX) == 0;
}

char **golden_names(void)
{
	struct dirent **entries = NULL;
	int count = scandir(GOLDEN_DIR, &entries, is_input, alphasort);
	char **names;

	if (count <= 0) {
		fprintf(stderr, "no pairs in %s (run from the top of the tree)\n", GOLDEN_DIR);
		abort();
	}
	names = calloc((size_t)count + 1, sizeof(*names));
	assert(names);
	for (int i = 0; i < count; i++) {
		names[i] = strndup(entries[i]->d_name, strlen(entries[i]->d_name) - strlen(SUFFIX));
		assert(names[i]);
		free(entries[i]);
	}
	free(entries);
	return names;
}

void golden_names_free(char **names)
{
	for (char **name = names; *name; name++)
		free(*name);
	free(names);
}

char *golden_read(const char *name, const char *suffix)
{
	char path[512];
	char *text = NULL;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s%s", GOLDEN_DIR, name, suffix);
	if (io_slurp(&io_kernel, AT_FDCWD, path, XML_TEXT_MAX, &text, &len) < 0)
		return NULL;
	return text;
}

void golden_write(const char *name, const char *suffix, const char *text)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s%s", GOLDEN_DIR, name, suffix);
	file = fopen(path, "we");
	assert(file);
	fputs(text, file);
	assert(fclose(file) == 0);
}

/* ---- requests ---- */

static char *format(const char *fmt, const char *a, const char *b)
{
	char *text = NULL;

	assert(asprintf(&text, fmt, a, b) >= 0);
	return text;
}

static void set(const char **to, char *value)
{
	free((void *)*to);
	*to = value;
}

static void default_disks(const struct xml_domain *domain, struct golden *golden)
{
	struct xml_request *request = &golden->request;

	golden->disks = calloc(domain->n_disks + 1, sizeof(*golden->disks));
	assert(golden->disks);
	for (uint32_t i = 0; i < domain->n_disks; i++) {
		struct xml_new_disk *disk = &golden->disks[request->n_disks];

		if (!domain->disks[i].cloned)
			continue;
		disk->target = format("%s%s", domain->disks[i].target, "");
		disk->path = format("/srv/lazyclone/%s/%s.raw", request->name, disk->target);
		request->n_disks++;
	}
	request->disks = golden->disks;
}

static void default_macs(const struct xml_domain *domain, struct golden *golden)
{
	golden->macs = calloc(domain->n_macs + 1, sizeof(*golden->macs));
	assert(golden->macs);
	for (uint32_t i = 0; i < domain->n_macs; i++)
		if (domain->macs[i][0])
			snprintf(golden->macs[i], XML_MAC_TEXT, "52:54:00:c1:%02x:%02x",
				(i + 1) >> 8 & 0xff, (i + 1) & 0xff);
	golden->request.n_macs = domain->n_macs;
	golden->request.macs = (const char(*)[XML_MAC_TEXT])golden->macs;
}

static void set_disk(struct golden *golden, const char *target, char *value, bool driver)
{
	for (uint32_t i = 0; i < golden->request.n_disks; i++)
		if (strcmp(golden->disks[i].target, target) == 0) {
			set(driver ? &golden->disks[i].driver : &golden->disks[i].path, value);
			return;
		}
	fprintf(stderr, "request: no disk %s to clone\n", target);
	abort();
}

static void set_key(struct golden *golden, const char *key, char *value, uint32_t *n_macs)
{
	struct xml_request *request = &golden->request;
	const struct {
		const char *key;
		const char **to;
	} texts[] = {
		{"name", &request->name},
		{"uuid", &request->uuid},
		{"nvram", &request->nvram},
		{"store", &request->store},
		{"source", &request->source_name},
		{"source-uuid", &request->source_uuid},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(key, texts[i].key) == 0) {
			set(texts[i].to, value);
			return;
		}
	if (strncmp(key, "disk.", 5) == 0 || strncmp(key, "driver.", 7) == 0) {
		set_disk(golden, strchr(key, '.') + 1, value, key[1] == 'r');
		return;
	}
	if (strcmp(key, "op") == 0)
		golden->restore = strcmp(value, "restore") == 0;
	else if (strcmp(key, "dac") == 0)
		request->dac_label = strcmp(value, "yes") == 0;
	else if (strcmp(key, "created") == 0)
		request->created_sec = strtoll(value, NULL, 10);
	else if (strcmp(key, "mac") == 0 && *n_macs < request->n_macs)
		snprintf(golden->macs[(*n_macs)++], XML_MAC_TEXT, "%s", value);
	else
		abort(); /* a misspelt key must not pass */
	free(value);
}

static void set_lines(struct golden *golden, const char *text)
{
	AUTO_FREE char *copy = strdup(text);
	char *rest = copy;
	uint32_t n_macs = 0;
	char *line;

	while ((line = strsep(&rest, "\n"))) {
		char *equals = strchr(line, '=');

		if (!equals || line[0] == '#')
			continue;
		*equals = '\0';
		set_key(golden, line, strdup(equals + 1), &n_macs);
	}
}

void golden_request(const char *in_xml, const char *text, struct golden *ret_golden)
{
	static const struct xml_domain none;
	struct xml_request *request = &ret_golden->request;
	struct xml_domain *domain = NULL;
	const struct xml_domain *from;

	memset(ret_golden, 0, sizeof(*ret_golden));
	from = xml_survey(in_xml, &domain, NULL) == 0 ? domain : &none;
	request->name = format("%s-clone1%s", from->name ?: "none", "");
	request->uuid = strdup("c10e0000-0000-4000-8000-000000000001");
	request->store = strdup("/srv/lazyclone-store");
	request->source_name = strdup(from->name ?: "none");
	request->source_uuid = strdup(from->uuid ?: "");
	request->created_sec = 1700000000;
	request->dac_label = true;
	if (from->nvram)
		request->nvram =
			format("/var/lib/libvirt/qemu/nvram/%s_VARS.fd%s", request->name, "");
	default_disks(from, ret_golden);
	default_macs(from, ret_golden);
	xml_domain_free(domain);
	if (text)
		set_lines(ret_golden, text);
}

void golden_clear(struct golden *golden)
{
	struct xml_request *request = &golden->request;

	for (uint32_t i = 0; i < request->n_disks; i++) {
		free((void *)golden->disks[i].target);
		free((void *)golden->disks[i].path);
		free((void *)golden->disks[i].driver);
	}
	free(golden->disks);
	free(golden->macs);
	free((void *)request->name);
	free((void *)request->uuid);
	free((void *)request->nvram);
	free((void *)request->store);
	free((void *)request->source_name);
	free((void *)request->source_uuid);
	memset(golden, 0, sizeof(*golden));
}
