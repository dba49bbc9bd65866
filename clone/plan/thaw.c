/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a thaw: see thaw.h. */
#include "clone/plan/thaw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clone/plan/discard.h"
#include "clone/plan/ours.h"
#include "fs/base/files.h"

/* The images below the deltas, each once: {PATH: IDENTITY}. */
static int find_bases(struct session *session, const char *domain, json_t **ret_bases,
	struct err *err)
{
	json_t *bases;
	struct ours ours;
	int rc = ours_find(session, domain, &ours, err);

	if (rc < 0)
		return rc;
	bases = json_object();
	for (uint32_t i = 0; i < ours.manifest->n_disks; i++)
		rc |= json_object_set_new(bases, ours.manifest->disks[i].base_path,
			json_string(ours.manifest->disks[i].base_identity));
	ours_clear(&ours);
	if (rc != 0) {
		json_decref(bases);
		return err_sys(err, -ENOMEM, "domain %s", domain);
	}
	*ret_bases = bases;
	return 0;
}

/* The user's word for it was "thaw". */
static bool go_on(void *ctx, const char *path, const json_t *remaining)
{
	return true;
}

/* Another file that got this path is not what was frozen. */
static int check_same(const char *path, const char *identity, struct err *err)
{
	struct base_file *files;
	uint32_t count;
	int rc = base_files(path, identity, &files, &count, err);

	if (rc < 0)
		return rc;
	rc = base_file_check(&files[0], err);
	base_files_free(files, count);
	return rc;
}

static int drop_base(struct session *session, const char *path, const char *identity,
	struct err *err)
{
	const struct discard_options how = {.confirm = go_on};
	json_t *discarded = NULL;
	int rc = check_same(path, identity, err);

	if (rc == 0)
		rc = discard_base(session, path, &how, &discarded, err);
	json_decref(discarded);
	return rc;
}

/* The machine is whole whatever becomes of these. */
static void drop_bases(struct session *session, json_t *bases, json_t *result)
{
	json_t *removed = json_array(), *kept = json_array();
	const char *path;
	json_t *identity;

	json_object_foreach(bases, path, identity) {
		struct err why = {0};

		if (drop_base(session, path, json_string_value(identity), &why) == 0)
			json_array_append_new(removed, json_string(path));
		else
			json_array_append_new(kept, json_pack("{s:s, s:s}", "path", path, "why",
				why.message));
	}
	json_object_set_new(result, "removed", removed);
	json_object_set_new(result, "kept", kept);
}

static json_t *describe(const char *domain, const struct hydrate_result *hydrated)
{
	json_t *images = json_array();

	for (uint32_t i = 0; i < hydrated->n_images; i++)
		json_array_append_new(images, json_string(hydrated->images[i]));
	return json_pack("{s:s, s:o, s:I, s:I}", "name", domain, "images", images, "copied_bytes",
		(json_int_t)hydrated->copied_bytes, "total_ns", (json_int_t)hydrated->total_ns);
}

int thaw_domain(struct session *session, const char *domain,
	const struct hydrate_options *options, json_t **ret_result, struct err *err)
{
	struct hydrate_options how = *options;
	struct hydrate_result hydrated = {0};
	json_t *bases = NULL;
	int rc = find_bases(session, domain, &bases, err);

	*ret_result = NULL;
	how.thaw = true;
	if (rc == 0)
		rc = hydrate_clone(session, domain, &how, &hydrated, err);
	if (rc == 0) {
		*ret_result = describe(domain, &hydrated);
		drop_bases(session, bases, *ret_result);
	}
	hydrate_result_clear(&hydrated);
	json_decref(bases);
	return rc;
}
