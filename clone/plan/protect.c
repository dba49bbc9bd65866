/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking write bits and giving them back: see protect.h. */
#include "clone/plan/protect.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clone/plan/bases.h"
#include "clone/state/modes.h"
#include "clone/state/stores.h"
#include "fs/base/files.h"
#include "fs/util/cleanup.h"

#define WRITE_BITS (S_IWUSR | S_IWGRP | S_IWOTH)

_Static_assert(MODES_ID == BASE_FILE_ID, "a file has one id");

/* ---- one file ---- */

static int open_file(const char *path, struct stat *ret_st)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && fstat(fd, ret_st) == 0)
		return fd;
	if (fd >= 0)
		close_fd(&fd);
	return -errno;
}

static int set_immutable(int fd, bool on)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -errno;
	flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0 ? -errno : 0;
}

/* What takes the bits of a file is allowed to fail in these ways. */
static bool not_ours(int rc)
{
	return rc == -EPERM || rc == -EROFS || rc == -EACCES || rc == -EOPNOTSUPP;
}

static int take_bits(const struct modes_entry *entry)
{
	struct stat st;
	AUTO_CLOSE int fd = open_file(entry->path, &st);
	int rc = 0;

	if (fd < 0)
		return fd;
	if ((st.st_mode & WRITE_BITS) && fchmod(fd, st.st_mode & 07777 & ~WRITE_BITS) < 0)
		return -errno;
	if (entry->immutable)
		rc = set_immutable(fd, true);
	return rc;
}

/* 0; -ENOENT: it is not there, or another file is. */
static int give_back(const struct modes_entry *entry)
{
	struct stat st;
	AUTO_CLOSE int fd = open_file(entry->path, &st);
	int rc = 0;

	if (fd < 0)
		return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
	if (st.st_ino != entry->inode || !S_ISREG(st.st_mode))
		return -ENOENT;
	if (entry->immutable)
		rc = set_immutable(fd, false);
	if (rc == 0 && fchmod(fd, (st.st_mode & 07777) | (entry->mode & WRITE_BITS)) < 0)
		rc = -errno;
	return rc;
}

/* Of this very file alone, whatever is in it. */
static int file_of(const char *path, struct base_file **ret_file, uint32_t *ret_count,
	struct err *err)
{
	AUTO_FREE char *identity = NULL;
	struct base_source *source;
	uint64_t size_bytes;
	int rc = base_source_raw(path, &source);

	if (rc < 0)
		return err_sys(err, rc, "%s", path);
	rc = base_identify(source, &identity, &size_bytes, err);
	base_source_free(source);
	return rc < 0 ? rc : base_files(path, identity, ret_file, ret_count, err);
}

/* ---- other stores ---- */

/* The note of another store on the file; path left out. A store of another user is none. */
static bool noted_elsewhere(struct store *store, const char *id, struct modes_entry *ret_entry)
{
	struct stores_entry *stores = NULL;
	uint32_t count = 0;
	bool found = false;

	if (stores_list(&stores, &count, NULL) < 0)
		return false;
	for (uint32_t i = 0; !found && i < count; i++) {
		AUTO_CLOSE int dirfd = -1;
		struct modes_entry *entry;
		struct modes modes;
		struct stat st;

		if (!stores[i].path || id_equal(&stores[i].id, store_id(store)))
			continue;
		dirfd = open(stores[i].path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dirfd < 0 || fstat(dirfd, &st) < 0 || st.st_uid != geteuid() ||
			modes_read(dirfd, &modes, NULL) < 0)
			continue;
		entry = modes_find(&modes, id);
		found = entry;
		if (entry) {
			*ret_entry = *entry;
			ret_entry->path = NULL;
		}
		modes_clear(&modes);
	}
	stores_free(stores, count);
	return found;
}

/* ---- taking ---- */

/* 1: noted anew, 0: there is nothing to take, or it was noted before. Who looks
 * at the mode after he found no other note sees what it was given back to. The
 * file itself is noted, not a link to it, which may lead elsewhere tomorrow. */
static int note_file(struct store *store, struct modes *modes, const struct base_file *file)
{
	struct modes_entry elsewhere = {.mode = 0};
	bool noted = noted_elsewhere(store, file->id, &elsewhere);
	AUTO_FREE char *real = realpath(file->path, NULL);
	struct modes_entry *entry;
	struct stat st;

	if (!real || lstat(real, &st) < 0)
		return -errno;
	if (modes_find(modes, file->id) || !S_ISREG(st.st_mode) ||
		(!noted && !(st.st_mode & WRITE_BITS)))
		return 0;
	entry = modes_add(modes, file->id, real);
	if (!entry)
		return -ENOMEM;
	entry->inode = st.st_ino;
	entry->mode = (st.st_mode | elsewhere.mode) & 0777;
	return 1;
}

/* Those that are not ours to change are not noted in the end. */
static int take_all(struct store *store, struct modes *modes, const struct base_file *files,
	uint32_t count, struct err *err)
{
	bool dropped = false;

	for (uint32_t i = 0; i < count; i++) {
		struct modes_entry *entry = modes_find(modes, files[i].id);
		int rc = entry ? take_bits(entry) : 0;

		if (rc < 0 && !not_ours(rc))
			return err_sys(err, rc, "cannot take the write bits of %s", entry->path);
		if (rc < 0)
			modes_drop(modes, entry);
		dropped |= rc < 0;
	}
	return dropped ? modes_write(store_dirfd(store), modes, err) : 0;
}

static int take_files(struct store *store, const struct base_file *files, uint32_t count,
	struct err *err)
{
	struct modes modes;
	int rc = modes_read(store_dirfd(store), &modes, err);
	bool noted = false;

	for (uint32_t i = 0; rc >= 0 && i < count; i++) {
		rc = note_file(store, &modes, &files[i]);
		noted |= rc == 1;
		if (rc < 0)
			err_sys(err, rc, "%s: its mode", files[i].path);
	}
	if (rc >= 0 && noted)
		rc = modes_write(store_dirfd(store), &modes, err);
	if (rc >= 0)
		rc = take_all(store, &modes, files, count, err);
	modes_clear(&modes);
	return rc < 0 ? rc : 0;
}

static int lock_failed(int rc, struct err *err)
{
	return err_sys(err, rc, "the lock of the store's modes");
}

int protect_take(struct store *store, const char *path, const char *identity, struct err *err)
{
	AUTO_CLOSE int lock_fd = modes_lock(store_dirfd(store));
	struct base_file *files;
	uint32_t count;
	int rc = lock_fd < 0 ? lock_failed(lock_fd, err)
			     : base_files(path, identity, &files, &count, err);

	if (rc < 0)
		return rc;
	rc = take_files(store, files, count, err);
	base_files_free(files, count);
	return rc;
}

/* ---- asking ---- */

static mode_t noted_mode(struct store *store, const char *id)
{
	struct modes_entry elsewhere = {.mode = 0};
	const struct modes_entry *entry;
	struct modes modes;
	mode_t mode = 0;

	if (modes_read(store_dirfd(store), &modes, NULL) == 0) {
		entry = modes_find(&modes, id);
		mode = entry ? entry->mode : 0;
		modes_clear(&modes);
	}
	return noted_elsewhere(store, id, &elsewhere) ? mode | elsewhere.mode : mode;
}

/* Of a file that cannot be identified, which a running machine may write, none are taken. */
static mode_t taken_mode(struct store *store, const char *path)
{
	struct base_file *file;
	uint32_t count;
	mode_t mode;

	if (file_of(path, &file, &count, NULL) < 0)
		return 0;
	mode = noted_mode(store, file[0].id);
	base_files_free(file, count);
	return mode;
}

/* Bits may go or come back meanwhile: they are noted before they go until after they
 * are back, so they are seen before the notes, in them, or after them. */
int protect_mode(struct store *store, const char *path, mode_t *ret_mode)
{
	struct stat before, after;
	mode_t taken;

	if (stat(path, &before) < 0)
		return -errno;
	taken = taken_mode(store, path);
	if (stat(path, &after) < 0)
		return -errno;
	*ret_mode = (before.st_mode | taken | after.st_mode) & 0777;
	return 0;
}

/* ---- giving back ---- */

static int mark_base(const struct modes *modes, const char *path, const char *identity,
	bool *needed)
{
	struct base_file *files;
	uint32_t count;
	int rc = base_files(path, identity, &files, &count, NULL);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < count; i++) {
		const struct modes_entry *entry = modes_find(modes, files[i].id);

		if (entry)
			needed[entry - modes->entries] = true;
	}
	base_files_free(files, count);
	return 0;
}

static int mark_manifest(const struct modes *modes, const struct manifest *m, bool *needed)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < m->n_disks; i++)
		if (m->disks[i].base_path)
			rc = mark_base(modes, m->disks[i].base_path, m->disks[i].base_identity,
				needed);
	return rc;
}

/* A clone that cannot be read may need anything. */
static int mark_all(struct store *store, const struct modes *modes, bool *needed)
{
	char **names;
	uint32_t count;
	int rc = store_list(store, &names, &count, NULL);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		struct manifest *m;

		rc = store_manifest_read(store, names[i], &m, NULL);
		if (rc == 0) {
			rc = mark_manifest(modes, m, needed);
			manifest_free(m);
		}
		if (rc == -ENOENT)
			rc = 0;
	}
	store_names_free(names, count);
	return rc;
}

/* Has it noted a file that m needs? */
static bool concerns(struct store *store, const struct manifest *m)
{
	AUTO_FREE bool *needed = NULL;
	struct modes modes;
	bool any = false;

	if (modes_read(store_dirfd(store), &modes, NULL) < 0)
		return true;
	needed = calloc((size_t)modes.count + 1, sizeof(*needed));
	if (!needed || (modes.count > 0 && mark_manifest(&modes, m, needed) < 0))
		any = true;
	for (uint32_t i = 0; !any && i < modes.count; i++)
		any = needed[i];
	modes_clear(&modes);
	return any;
}

/* 0: the note may go. */
static int settle_entry(struct session *session, struct store *store,
	const struct modes_entry *entry)
{
	struct modes_entry elsewhere;
	int rc = noted_elsewhere(store, entry->id, &elsewhere) ? 0 : give_back(entry);

	if (rc == -ENOENT)
		session_notice(session, "%s is not where it was: its mode is not given back (%04o)",
			entry->path, entry->mode);
	else if (rc < 0)
		session_notice(session, "%s: its mode %04o cannot be given back: %s", entry->path,
			entry->mode, strerror(-rc));
	return rc == -ENOENT ? 0 : rc;
}

static int settle(struct session *session, struct store *store, struct modes *modes,
	struct err *err)
{
	AUTO_FREE bool *needed = calloc((size_t)modes->count + 1, sizeof(*needed));
	int rc = !needed ? -ENOMEM : modes->count > 0 ? mark_all(store, modes, needed) : 0;

	if (rc < 0)
		return err_sys(err, rc, "cannot tell whose write bits are still needed");
	/* From the end: what is dropped is replaced by one that was looked at. */
	for (uint32_t i = modes->count; i > 0; i--) {
		struct modes_entry *entry = &modes->entries[i - 1];

		if (needed[i - 1] || entry->by_hand || settle_entry(session, store, entry) < 0)
			continue;
		modes_drop(modes, entry);
	}
	return modes_write(store_dirfd(store), modes, err);
}

int protect_settle(struct session *session, struct store *store, struct err *err)
{
	AUTO_CLOSE int back_fd = modes_give_back(store_dirfd(store));
	AUTO_CLOSE int lock_fd = back_fd < 0 ? back_fd : modes_lock(store_dirfd(store));
	struct modes modes;
	int rc;

	if (lock_fd < 0)
		return lock_failed(lock_fd, err);
	rc = modes_read(store_dirfd(store), &modes, err);
	if (rc == 0)
		rc = settle(session, store, &modes, err);
	modes_clear(&modes);
	return rc;
}

/* Killed behind the removal, the journal says that there is something to settle. */
static int remove_noted(struct session *session, struct store *store, const struct manifest *m,
	struct err *err)
{
	struct journal *journal;
	int rc = journal_begin(store_dirfd(store), &journal, err);

	if (rc < 0)
		return rc;
	rc = journal_add(journal, JOURNAL_MODES, NULL, NULL, 0, 0, err);
	if (rc == 0)
		rc = store_remove(store, m->name, &m->id, err);
	/* What is not settled now is by the next command. */
	if (rc == 0 && protect_settle(session, store, NULL) == 0)
		return journal_end(journal, err);
	journal_close(journal);
	return rc;
}

int protect_remove(struct session *session, struct store *store, const struct manifest *m,
	struct err *err)
{
	return concerns(store, m) ? remove_noted(session, store, m, err)
				  : store_remove(store, m->name, &m->id, err);
}

/* ---- by hand ---- */

static int take_by_hand(struct store *store, const struct base_file *file, bool immutable,
	struct err *err)
{
	struct modes_entry *entry;
	struct modes modes;
	int rc = modes_read(store_dirfd(store), &modes, err);

	if (rc < 0)
		return rc;
	rc = note_file(store, &modes, file);
	entry = rc < 0 ? NULL : modes_find(&modes, file->id);
	if (rc >= 0 && !entry)
		rc = err_set(err, -EEXIST, "%s: nobody can write it as it is", file->path);
	else if (rc < 0)
		err_sys(err, rc, "%s: its mode", file->path);
	if (entry) {
		entry->by_hand = true;
		entry->immutable |= immutable;
		rc = modes_write(store_dirfd(store), &modes, err);
	}
	if (rc >= 0) {
		rc = take_bits(entry);
		if (rc < 0) {
			err_sys(err, rc, "%s: cannot be protected", file->path);
			give_back(entry);
			modes_drop(&modes, entry);
			modes_write(store_dirfd(store), &modes, NULL);
		}
	}
	modes_clear(&modes);
	return rc < 0 ? rc : 0;
}

int protect_by_hand(struct session *session, const char *path, bool immutable, struct err *err)
{
	AUTO_FREE char *full = bases_path(path, err);
	AUTO_CLOSE int lock_fd = -1;
	struct base_file *file;
	struct store *store;
	uint32_t count;
	int rc = full ? session_need_store(session, true, &store, err) : err->code;

	if (rc == 0) {
		lock_fd = modes_lock(store_dirfd(store));
		rc = lock_fd < 0 ? lock_failed(lock_fd, err)
				 : file_of(full, &file, &count, err);
	}
	if (rc < 0)
		return rc;
	if (file[0].device)
		rc = err_set(err, -EOPNOTSUPP, "%s: a block device keeps no mode", full);
	else
		rc = take_by_hand(store, &file[0], immutable, err);
	base_files_free(file, count);
	return rc;
}

static int check_unneeded(const struct bases *bases, const char *path, struct err *err)
{
	for (uint32_t i = 0; i < bases->n_entries; i++) {
		const struct bases_entry *entry = &bases->entries[i];
		AUTO_FREE char *users = NULL;

		if (entry->n_users == 0 || bases_file_of(entry, path) < 0)
			continue;
		users = bases_users_text(bases, entry);
		err_set(err, -EBUSY, "%s: clones need it: %s", path, users ? users : "?");
		err_hint(err, "--force gives its write bits back all the same: as long as no daemon "
			"runs anybody with the right can write it, and its clones fail then");
		return -EBUSY;
	}
	return bases_check_whole(bases, false, err);
}

/* 1: it was noted here and has its bits back. */
static int undo_in(int store_dirfd, const char *path, const struct stat *st, struct err *err)
{
	AUTO_CLOSE int lock_fd = modes_lock(store_dirfd);
	struct modes modes;
	int found = 0, rc = lock_fd < 0 ? lock_failed(lock_fd, err)
					: modes_read(store_dirfd, &modes, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = modes.count; rc == 0 && i > 0; i--) {
		struct modes_entry *entry = &modes.entries[i - 1];

		if (strcmp(entry->path, path) != 0 || entry->inode != st->st_ino)
			continue;
		rc = give_back(entry);
		if (rc < 0) {
			err_sys(err, rc, "%s: its mode cannot be given back", path);
			break;
		}
		found = 1;
		modes_drop(&modes, entry);
	}
	if (rc == 0 && found)
		rc = modes_write(store_dirfd, &modes, err);
	modes_clear(&modes);
	return rc < 0 ? rc : found;
}

static int undo_everywhere(const struct bases *bases, const char *path, struct err *err)
{
	AUTO_FREE char *real = realpath(path, NULL);
	struct stat st;
	int found = 0;

	if (!real || lstat(real, &st) < 0)
		return err_sys(err, -errno, "%s", path);
	for (uint32_t i = 0; i < bases->n_stores; i++) {
		struct store *store = bases->stores[i].store;
		int rc = store ? undo_in(store_dirfd(store), real, &st, err) : 0;

		if (rc < 0)
			return rc;
		found |= rc;
	}
	return found ? 0 : err_set(err, -ENOENT, "%s: no write bits of it were taken", path);
}

int protect_undo(struct session *session, const char *path, bool force, struct err *err)
{
	AUTO_FREE char *full = bases_path(path, err);
	struct bases bases;
	int rc = full ? bases_load(session, &bases, err) : err->code;

	if (rc < 0)
		return rc;
	if (!force)
		rc = check_unneeded(&bases, full, err);
	if (rc == 0)
		rc = undo_everywhere(&bases, full, err);
	bases_clear(&bases);
	return rc;
}
