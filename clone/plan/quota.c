/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changing a clone's quota: see quota.h. */
#include "clone/plan/quota.h"

#include <errno.h>
#include <string.h>

#include "clone/plan/ours.h"
#include "fs/ctl/ctl.h"
#include "fs/util/size.h"

int quota_parse(const char *what, const char *text, uint64_t *ret_bytes, struct err *err)
{
	int rc;

	if (strcmp(text, "none") == 0) {
		*ret_bytes = 0;
		return 0;
	}
	rc = size_parse(what, text, QUOTA_BYTES_MAX, ret_bytes, err);
	if (rc == 0 && *ret_bytes < QUOTA_BYTES_MIN) {
		rc = err_set(err, -EINVAL, "%s %s: at least %llu MiB", what, text,
			(unsigned long long)(QUOTA_BYTES_MIN >> 20));
		err_hint(err, "'none' takes the quota away");
	}
	return rc;
}

int quota_set(struct session *session, const char *clone, uint64_t bytes, struct err *err)
{
	struct ours ours;
	struct ctl *ctl;
	int rc = ours_take(session, clone, &ours, err);

	if (rc < 0)
		return rc;
	rc = session_need_daemon(session, true, &ctl, err);
	if (rc == 0)
		rc = ours_show(&ours, ctl, err);
	if (rc == 0)
		rc = ctl_quota(ctl, ours.manifest->name, bytes, err);
	ours_clear(&ours);
	return rc;
}
