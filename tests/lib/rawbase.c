/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Raw images as bases: see rawbase.h. */
#include "tests/lib/rawbase.h"

int rawbase_hold(const char *path, const char *identity, struct base **ret_base, struct err *err)
{
	struct base_source *source;
	int rc;

	if (identity)
		return base_hold_known(path, identity, ret_base, err);
	rc = base_source_raw(path, &source);
	if (rc < 0)
		return rc;
	rc = base_hold(source, ret_base, err);
	base_source_free(source);
	return rc;
}

int rawbase_identify(const char *path, char **ret_identity, uint64_t *ret_size_bytes,
	struct err *err)
{
	struct base_source *source;
	int rc = base_source_raw(path, &source);

	if (rc < 0)
		return rc;
	rc = base_identify(source, ret_identity, ret_size_bytes, err);
	base_source_free(source);
	return rc;
}
