/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a freeze, and undoing it: see freeze.h. */
#include "clone/plan/freeze.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clone/plan/allowed.h"
#include "clone/plan/base-notes.h"
#include "clone/plan/interrupt.h"
#include "clone/plan/making.h"
#include "clone/plan/origin.h"
#include "clone/plan/protect.h"
#include "clone/plan/undo.h"
#include "clone/state/modes.h"
#include "clone/state/stores.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"

struct freezing {
	struct session *session;
	const struct freeze_options *options;
	struct store *store;
	struct ctl *ctl;
	struct virt *virt;
	struct allowed allowed;
	struct origin *origin;
	struct journal *journal;
	int modes_fd; /* on the lock that keeps the images' modes as they are; -1 */
	bool frozen; /* already */
};

/* ---- may it? ---- */

static int check_not_ours(struct freezing *f, const struct virt_domain *domain, struct err *err)
{
	struct xml_provenance mark;

	if (xml_provenance(domain->xml, &mark) != 1)
		return 0;
	f->frozen = mark.frozen;
	xml_provenance_clear(&mark);
	if (f->frozen && f->options->once)
		return 0;
	if (f->frozen)
		return err_set(err, -EEXIST, "domain %s is frozen already", domain->name);
	err_set(err, -EEXIST, "domain %s is a clone: it has a delta of its own already",
		domain->name);
	err_hint(err, "clone it as it is: what it wrote is frozen into a layer");
	return -EEXIST;
}

/* Before it is looked at as a source: of a clone more would be asked there. */
static int check_domain(struct freezing *f, const char *name, struct err *err)
{
	struct virt_domain domain;
	int rc = virt_lookup(f->virt, name, &domain, err);

	if (rc < 0)
		return rc;
	rc = check_not_ours(f, &domain, err);
	if (rc == 0 && !store_name_valid(domain.name))
		rc = err_set(err, -EINVAL, "domain %s: its name cannot be one in a store",
			domain.name);
	virt_domain_clear(&domain);
	return rc;
}

static int find_origin(struct freezing *f, const char *name, struct err *err)
{
	const struct freeze_options *options = f->options;
	const struct origin_use use = {.allowed = &f->allowed};
	int rc = allowed_parse(options->backings, options->n_backings, options->data_files,
		options->n_data_files, &f->allowed, err);

	if (rc == 0)
		rc = origin_of_domain(f->session, f->virt, name, &use, &f->origin, err);
	return rc < 0 ? rc : allowed_check_used(&f->allowed, err);
}

static int check_free(const struct freezing *f, struct err *err)
{
	const char *name = f->origin->domain.name;
	AUTO_CLOSE int dirfd = store_clone_dirfd(f->store, name);

	if (dirfd == -ENOENT)
		return 0;
	if (dirfd < 0)
		return err_sys(err, dirfd, "clone %s", name);
	err_set(err, -EEXIST, "%s: the store has a clone of that name already", name);
	err_hint(err, "see what it is: lazyclone info %s; or rename the domain first", name);
	return -EEXIST;
}

static int prepare(struct freezing *f, const char *name, struct err *err)
{
	int rc = find_origin(f, name, err);

	if (rc == 0)
		rc = session_need_store(f->session, true, &f->store, err);
	if (rc == 0)
		rc = check_free(f, err);
	if (rc == 0)
		rc = stores_note(store_id(f->store), store_path(f->store), err);
	if (rc == 0)
		rc = session_need_daemon(f->session, true, &f->ctl, err);
	if (rc == 0)
		rc = origin_hold(f->origin, ORIGIN_PROTECT, f->store, f->ctl,
			session_mountpoint(f->session), err);
	return rc == 0 ? journal_begin(store_dirfd(f->store), &f->journal, err) : rc;
}

/* ---- the steps ---- */

/* Also while no daemon runs, and after a daemon that was killed, nobody writes them. */
static int protect_bases(struct freezing *f, struct err *err)
{
	int rc;

	f->modes_fd = modes_keep(store_dirfd(f->store));
	if (f->modes_fd < 0)
		return err_sys(err, f->modes_fd, "the lock of the store's modes");
	rc = journal_add(f->journal, JOURNAL_MODES, NULL, NULL, 0, 0, err);
	for (uint32_t i = 0; rc == 0 && i < f->origin->n_disks; i++)
		rc = protect_take(f->store, f->origin->disks[i].path,
			f->origin->disks[i].identity, err);
	return rc;
}

/* What cannot be undone now is the next command's. */
static int undo(struct freezing *f, struct err *err)
{
	struct err undo_err = {0};

	close_fd(&f->modes_fd); /* our own keeping would keep them from being given back */
	if (undo_run(f->session, f->journal, 0, &undo_err) == 0)
		return journal_end(steal_ptr(&f->journal), NULL);
	err_hint(err, "not all could be undone (%s); the next lazyclone command tries again",
		undo_err.message);
	return 0;
}

static int make(struct freezing *f, struct making *making, struct err *err)
{
	int rc = protect_bases(f, err);

	if (rc == 0)
		rc = making_run(making, err);
	if (rc == 0)
		rc = journal_add(f->journal, JOURNAL_DONE, NULL, NULL, 0, 0, err);
	if (rc == 0)
		return journal_end(steal_ptr(&f->journal), err);
	undo(f, err);
	return rc;
}

static json_t *describe(const struct making *making)
{
	json_t *disks = json_array();

	for (uint32_t i = 0; i < making->manifest->n_disks; i++)
		json_array_append_new(disks, json_pack("{s:s, s:s, s:s}", "target",
			making->manifest->disks[i].target, "path", making->paths[i], "base",
			making->manifest->disks[i].base_path));
	return json_pack("{s:s, s:s, s:o}", "name", making->name, "uuid", making->uuid, "disks",
		disks);
}

static int plan_and_make(struct freezing *f, json_t **ret_result, struct err *err)
{
	struct making making = {
		.origin = f->origin,
		.store = f->store,
		.ctl = f->ctl,
		.virt = f->virt,
		.journal = f->journal,
		.store_path = session_store_path(f->session),
		.mountpoint = session_mountpoint(f->session),
		.freeze = true,
		.lock_fd = -1,
	};
	char *name = strdup(f->origin->domain.name);
	int rc = name ? making_plan(&making, name, NULL, err)
		      : err_sys(err, -ENOMEM, "domain %s", f->origin->domain.name);

	if (rc == 0)
		rc = make(f, &making, err);
	if (rc == 0)
		*ret_result = describe(&making);
	making_clear(&making);
	return rc;
}

/* After the manifest, which needs them: base-notes.c. */
static void note_bases(const struct freezing *f)
{
	for (uint32_t i = 0; i < f->origin->n_disks; i++)
		base_notes_take(f->session, f->origin->disks[i].path,
			f->origin->disks[i].identity);
}

static void freezing_clear(struct freezing *f)
{
	if (f->journal && journal_count(f->journal) == 0)
		journal_end(steal_ptr(&f->journal), NULL);
	journal_close(f->journal);
	close_fd(&f->modes_fd);
	origin_free(f->origin);
	allowed_clear(&f->allowed);
}

int freeze_domain(struct session *session, const char *domain,
	const struct freeze_options *options, json_t **ret_result, struct err *err)
{
	struct freezing f = {.session = session, .options = options, .modes_fd = -1};
	int rc = session_need_virt(session, &f.virt, err);

	*ret_result = NULL;
	if (rc == 0)
		rc = check_domain(&f, domain, err);
	if (rc < 0 || f.frozen)
		return rc;
	interrupt_catch();
	rc = prepare(&f, domain, err);
	if (rc == 0)
		rc = plan_and_make(&f, ret_result, err);
	if (rc == 0)
		note_bases(&f);
	freezing_clear(&f);
	interrupt_restore();
	return rc;
}

/* ---- undoing it ---- */

/* The name in the store of the frozen original that it is; NULL: it is none. Caller frees. */
static char *name_of(const struct virt_domain *domain)
{
	struct xml_provenance mark;
	char *name = NULL;

	if (xml_provenance(domain->xml, &mark) != 1)
		return NULL;
	if (mark.frozen)
		name = steal_ptr(&mark.source_name);
	xml_provenance_clear(&mark);
	return name;
}

bool freeze_is_of(const struct virt_domain *domain, const char *name)
{
	AUTO_FREE char *have = name_of(domain);

	return have && strcmp(have, name) == 0;
}

static int read_definition(struct session *session, const char *name, char **ret_xml,
	struct err *err)
{
	AUTO_CLOSE int dirfd = -1;
	struct store *store;
	size_t len;
	int rc = session_need_store(session, false, &store, err);

	if (rc < 0)
		return rc;
	dirfd = store_clone_dirfd(store, name);
	rc = dirfd < 0 ? dirfd
		       : io_slurp(&io_kernel, dirfd, RECORD_ORIGINAL, XML_TEXT_MAX, ret_xml, &len);
	return rc < 0 ? err_sys(err, rc, "cannot read what %s was defined as", name) : 0;
}

/* A known UUID is an order to replace that domain: it must be this one's. */
static int define_back(struct virt *virt, const struct virt_domain *domain, const char *xml,
	struct err *err)
{
	struct xml_domain *survey;
	bool same;
	int rc = xml_survey(xml, &survey, err);

	if (rc < 0)
		return rc;
	same = strcasecmp(survey->uuid, domain->uuid) == 0;
	xml_domain_free(survey);
	if (!same)
		return err_set(err, -EUCLEAN, "what is kept of %s defines another domain",
			domain->name);
	return virt_define(virt, xml, NULL, err);
}

static int undo_found(struct session *session, struct virt *virt,
	const struct virt_domain *domain, struct err *err)
{
	AUTO_FREE char *name = name_of(domain);
	AUTO_FREE char *xml = NULL;
	int rc;

	if (!name)
		return 0;
	if (domain->active)
		return err_set(err, -EBUSY, "domain %s was started meanwhile", domain->name);
	rc = read_definition(session, name, &xml, err);
	return rc == 0 ? define_back(virt, domain, xml, err) : rc;
}

int freeze_undo(struct session *session, const char *uri, const char *uuid, struct err *err)
{
	struct virt_domain domain;
	struct virt *virt;
	int rc = session_virt_at(session, uri, &virt, err);

	if (rc == 0)
		rc = virt_lookup_uuid(virt, uuid, &domain, err);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	rc = undo_found(session, virt, &domain, err);
	virt_domain_clear(&domain);
	return rc;
}
