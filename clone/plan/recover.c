/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What killed runs left: undone, or finished where only the last line was missing.
 *
 * A clone whose domain is defined is whole: it was killed between the
 * definition and "done". It is kept, since its user may have
 * begun to use it. Members of a group (--all-or-none) are undone together.
 * A frozen original is whole once it is defined on its delta, as its mark says.
 * A reset is finished if its disks were reset, and else undone.
 */
#include "clone/plan/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clone/plan/freeze.h"
#include "clone/plan/reset.h"
#include "clone/plan/undo.h"
#include "clone/state/journal.h"
#include "clone/virt/virt.h"
#include "fs/store/store.h"
#include "fs/util/cleanup.h"

/* Journals held open at the same time. */
#define ORPHANS_MAX 4096

static bool has_group(const struct journal *journal, uint32_t from)
{
	for (uint32_t i = from; i < journal_count(journal); i++)
		if (journal_entry(journal, i)->kind == JOURNAL_GROUP)
			return true;
	return false;
}

static const struct journal_entry *entry_of_kind(const struct journal *journal, uint32_t from,
	enum journal_kind kind)
{
	for (uint32_t i = journal_count(journal); i > from; i--)
		if (journal_entry(journal, i - 1)->kind == kind)
			return journal_entry(journal, i - 1);
	return NULL;
}

/* Is the journal's clone in the store, by its id? 1, 0, -errno. */
static int is_committed(struct session *session, const struct journal_entry *clone,
	struct err *err)
{
	struct manifest *manifest;
	struct store *store;
	struct id id;
	int rc = session_need_store(session, false, &store, err);

	if (rc == 0)
		rc = store_manifest_read(store, clone->name, &manifest, err);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = id_parse(clone->more, &id) == 0 && id_equal(&manifest->id, &id);
	manifest_free(manifest);
	return rc;
}

/* 1, 0, -errno: cannot be told now. The definition comes last, so a domain
 * that is there says all; where its disks are mounted today says nothing. */
static int is_whole(struct session *session, const struct journal *journal, uint32_t from,
	struct err *err)
{
	const struct journal_entry *clone = entry_of_kind(journal, from, JOURNAL_CLONE);
	const struct journal_entry *frozen = entry_of_kind(journal, from, JOURNAL_FREEZE);
	const struct journal_entry *domain =
		frozen ? frozen : entry_of_kind(journal, from, JOURNAL_DOMAIN);
	bool defined;
	struct virt_domain found;
	struct virt *virt;
	int rc;

	if (!clone || !domain || has_group(journal, from))
		return 0;
	rc = session_virt_at(session, domain->more, &virt, err);
	if (rc == 0)
		rc = virt_lookup_uuid(virt, domain->name, &found, err);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	defined = !frozen || freeze_is_of(&found, clone->name);
	virt_domain_clear(&found);
	if (!defined)
		return 0;
	return is_committed(session, clone, err);
}

static int settle(struct session *session, const struct journal *journal, struct err *err)
{
	uint32_t from = journal_undone(journal);
	const struct journal_entry *clone = entry_of_kind(journal, from, JOURNAL_CLONE);
	const char *name = clone ? clone->name : NULL;
	const char *what =
		entry_of_kind(journal, from, JOURNAL_FREEZE) ? "freeze of" : "clone";
	int rc;

	if (from == journal_count(journal))
		return 0;
	if (journal_entry(journal, from)->kind == JOURNAL_RESET)
		return reset_settle(session, journal, from, err);
	rc = is_whole(session, journal, from, err);
	if (rc > 0)
		session_notice(session, "finished the %s %s that a killed run left", what, name);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = undo_run(session, journal, from, err);
	if (rc == 0 && name)
		session_notice(session, "undid the %s %s that a killed run left", what, name);
	return rc;
}

/* Each journal of a dead run, held open until all were seen, so that none is
 * met twice; see may take it. -errno ends it. */
static int for_each_orphan(struct store *store,
	int (*see)(void *ctx, struct journal **journal, struct err *err), void *ctx,
	struct err *err)
{
	struct journal **kept = calloc(ORPHANS_MAX, sizeof(*kept));
	struct journal *journal;
	uint32_t n_kept = 0;
	int rc = 1;

	if (!kept)
		return err_sys(err, -ENOMEM, "cannot look for killed runs");
	while (rc > 0 && n_kept < ORPHANS_MAX) {
		rc = journal_next_orphan(store_dirfd(store), &journal, err);
		if (rc <= 0)
			break;
		rc = see(ctx, &journal, err);
		if (journal)
			kept[n_kept++] = journal;
		rc = rc < 0 ? rc : 1;
	}
	for (uint32_t i = 0; i < n_kept; i++)
		journal_close(kept[i]);
	free(kept);
	return rc < 0 ? rc : 0;
}

static int settle_or_keep(void *ctx, struct journal **journal, struct err *err)
{
	struct session *session = ctx;
	struct err why;

	if (settle(session, *journal, &why) == 0)
		return journal_end(steal_ptr(journal), err);
	session_notice(session, "what a killed run left cannot be undone yet: %s", why.message);
	return 0;
}

int session_recover(struct session *session, struct err *err)
{
	struct store *store;
	int rc = session_need_store(session, false, &store, err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = store_sweep(store, err);
	return rc < 0 ? rc : for_each_orphan(store, settle_or_keep, session, err);
}

static int is_reset_of(void *ctx, struct journal **journal, struct err *err)
{
	const struct journal_entry *entry =
		entry_of_kind(*journal, journal_undone(*journal), JOURNAL_RESET);

	if (!entry || strcmp(entry->more, ctx) != 0)
		return 0;
	err_set(err, -EBUSY, "clone %s: a reset of it was killed just now", entry->name);
	err_hint(err, "run the command again: it settles that first");
	return -EBUSY;
}

int session_none_pending(struct session *session, const struct id *clone, struct err *err)
{
	struct store *store;
	char text[ID_TEXT];
	int rc = session_need_store(session, false, &store, err);

	id_format(clone, text);
	return rc < 0 ? rc : for_each_orphan(store, is_reset_of, text, err);
}
