/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How each kind of journal entry is undone: see undo.h. */
#include "clone/plan/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clone/plan/freeze.h"
#include "clone/plan/hide.h"
#include "clone/plan/nvram.h"
#include "clone/plan/protect.h"
#include "clone/virt/virt.h"
#include "clone/xml/domain.h"
#include "fs/store/layers.h"
#include "fs/store/store.h"
#include "fs/util/cleanup.h"

/* Its UUID was random and ours; the metadata must say the same, in case a
 * user has made something else of it since. */
static bool is_ours(const struct virt_domain *domain)
{
	struct xml_provenance provenance;
	bool ours = xml_provenance(domain->xml, &provenance) == 1;

	if (!ours)
		return false;
	ours = !provenance.frozen && strcasecmp(provenance.uuid, domain->uuid) == 0;
	xml_provenance_clear(&provenance);
	return ours;
}

static int undo_domain(struct session *session, const char *uri, const char *uuid,
	struct err *err)
{
	struct virt_domain domain;
	struct virt *virt;
	int rc = session_virt_at(session, uri, &virt, err);

	if (rc < 0)
		return rc;
	rc = virt_lookup_uuid(virt, uuid, &domain, err);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	if (is_ours(&domain))
		/* Its NVRAM file has an entry of its own. */
		rc = virt_undefine(virt, uuid, true, err);
	else
		rc = err_set(err, -EPERM, "domain %s is not ours any more: its metadata is gone",
			domain.name);
	virt_domain_clear(&domain);
	return rc;
}

static int undo_clone(struct session *session, const char *name, const char *id_text,
	struct err *err)
{
	struct store *store;
	struct ctl *ctl = NULL;
	struct id id;
	int rc;

	if (id_parse(id_text, &id) < 0)
		return err_set(err, -EUCLEAN, "%s is no id of a clone", id_text);
	rc = session_need_store(session, false, &store, err);
	if (rc == 0)
		rc = session_daemon_if_up(session, &ctl, err);
	if (rc == 0)
		rc = hide_clone(ctl, name, &id, err);
	if (rc == 0)
		rc = store_remove(store, name, &id, err);
	return rc == -ENOENT ? 0 : rc;
}

static int undo_stage(struct session *session, const char *name, struct err *err)
{
	struct store *store;
	int rc = session_need_store(session, false, &store, err);

	if (rc == 0)
		rc = store_stage_sweep(store, name, err);
	/* What only the stage needed; what cannot go now is the next sweep's. */
	if (rc == 0)
		store_layers_sweep(store, NULL, NULL);
	return rc;
}

static int remove_file(const char *path, struct err *err)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(err, -errno, "cannot remove %s", path);
	return 0;
}

/* Another file by that name is somebody else's. */
static int undo_file_made(const struct journal_entry *entry, struct err *err)
{
	AUTO_CLOSE int fd = open(entry->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, -errno, "cannot look at %s", entry->name);
	if (fstat(fd, &st) < 0)
		return err_sys(err, -errno, "cannot look at %s", entry->name);
	if (st.st_ino != entry->ino || nvram_fsid(fd) != entry->dev)
		return 0;
	return remove_file(entry->name, err);
}

static int undo_quiesce(struct session *session, const char *uri, const char *uuid,
	struct err *err)
{
	struct virt *virt;
	int rc = session_virt_at(session, uri, &virt, err);

	return rc < 0 ? rc : virt_thaw(virt, uuid, err);
}

static int undo_modes(struct session *session, struct err *err)
{
	struct store *store;
	int rc = session_need_store(session, false, &store, err);

	return rc < 0 ? rc : protect_settle(session, store, err);
}

static int undo_entry(struct session *session, const struct journal_entry *entry, struct err *err)
{
	switch (entry->kind) {
	case JOURNAL_STAGE:
		return undo_stage(session, entry->name, err);
	case JOURNAL_CLONE:
		return undo_clone(session, entry->name, entry->more, err);
	case JOURNAL_FILE:
		return remove_file(entry->name, err);
	case JOURNAL_FILE_MADE:
		return undo_file_made(entry, err);
	case JOURNAL_DOMAIN:
		return undo_domain(session, entry->more, entry->name, err);
	case JOURNAL_QUIESCE:
		return undo_quiesce(session, entry->more, entry->name, err);
	case JOURNAL_MODES:
		return undo_modes(session, err);
	case JOURNAL_FREEZE:
		return freeze_undo(session, entry->more, entry->name, err);
	case JOURNAL_GROUP:
	case JOURNAL_RESET: /* what it left is its files; see reset_settle() */
	case JOURNAL_DONE:
		return 0;
	}
	return err_set(err, -EUCLEAN, "a journal entry of no known kind");
}

static bool defines(const struct journal_entry *entry)
{
	return entry->kind == JOURNAL_DOMAIN || entry->kind == JOURNAL_FREEZE;
}

static int undo_kind(struct session *session, const struct journal *journal, uint32_t from,
	bool domains, struct err *err)
{
	int rc = 0;

	for (uint32_t i = journal_count(journal); rc == 0 && i > from; i--) {
		const struct journal_entry *entry = journal_entry(journal, i - 1);

		if (defines(entry) == domains)
			rc = undo_entry(session, entry, err);
	}
	return rc;
}

/* Domains were defined last, wherever their lines stand: they go first. */
int undo_run(struct session *session, const struct journal *journal, uint32_t from,
	struct err *err)
{
	int rc = undo_kind(session, journal, from, true, err);

	return rc == 0 ? undo_kind(session, journal, from, false, err) : rc;
}
