/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Journal files: begun locked, appended durably, found again when their run has died.
 *
 * A new journal is made as ".RUNID.new", locked, and only then renamed to
 * RUNID.json, so that a name ending in .json is never seen without its lock.
 * Whoever looks for orphans deletes a .new that nobody holds; should that hit
 * a run between creating and locking, its rename fails and it tries again.
 */
#include "clone/state/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clone/state/journal_line.h"
#include "fs/util/cleanup.h"
#include "fs/util/id.h"
#include "fs/util/io.h"

#define JOURNAL_DIR "journal"
#define JOURNAL_SUFFIX ".json"
#define NEW_SUFFIX ".new"
#define BEGIN_TRIES 100

struct journal {
	int dirfd;
	int fd;
	char name[ID_TEXT - 1 + sizeof(JOURNAL_SUFFIX)];
	uint64_t end; /* of the last whole line; what lies behind is a failed append */
	char *noted;  /* lines not in the file yet */
	struct journal_entry *entries;
	uint32_t n_entries, n_allocated;
};

void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	close_fd(&journal->fd);
	close_fd(&journal->dirfd);
	journal_entries_free(journal->entries, journal->n_entries);
	free(journal->noted);
	free(journal);
}

static struct journal *journal_new(int dirfd)
{
	struct journal *journal = calloc(1, sizeof(*journal));

	if (!journal)
		return NULL;
	journal->fd = -1;
	journal->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	if (journal->dirfd < 0) {
		free(journal);
		return NULL;
	}
	return journal;
}

static int open_dir(int store_dirfd, int *ret_dirfd)
{
	int fd;

	if (mkdirat(store_dirfd, JOURNAL_DIR, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(store_dirfd, JOURNAL_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_dirfd = fd;
	return 0;
}

/* -EAGAIN: somebody took the file for an orphan before it was locked. */
static int create_locked(struct journal *journal)
{
	struct id id = id_new();
	char text[ID_TEXT];
	char temp[ID_TEXT + 1 + sizeof(NEW_SUFFIX)];
	int rc;

	id_format(&id, text);
	snprintf(journal->name, sizeof(journal->name), "%s%s", text, JOURNAL_SUFFIX);
	snprintf(temp, sizeof(temp), ".%s%s", text, NEW_SUFFIX);
	journal->fd = openat(journal->dirfd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (journal->fd < 0)
		return -errno;
	rc = io_lock(journal->fd, true, 0, 1);
	if (rc == 0 && renameat(journal->dirfd, temp, journal->dirfd, journal->name) < 0)
		rc = errno == ENOENT ? -EAGAIN : -errno;
	if (rc < 0) {
		close_fd(&journal->fd);
		unlinkat(journal->dirfd, temp, 0);
	}
	return rc;
}

int journal_begin(int store_dirfd, struct journal **ret_journal, struct err *err)
{
	AUTO_CLOSE int dirfd = -1;
	struct journal *journal;
	int rc = open_dir(store_dirfd, &dirfd);

	if (rc < 0)
		return err_sys(err, rc, "cannot open the store's journal directory");
	journal = journal_new(dirfd);
	if (!journal)
		return err_sys(err, -ENOMEM, "cannot begin a journal");
	rc = -EAGAIN;
	for (int i = 0; i < BEGIN_TRIES && rc == -EAGAIN; i++)
		rc = create_locked(journal);
	if (rc == 0)
		rc = io_fsync_dir(&io_kernel, journal->dirfd, ".");
	if (rc < 0) {
		if (journal->fd >= 0)
			unlinkat(journal->dirfd, journal->name, 0);
		journal_close(journal);
		return err_sys(err, rc, "cannot begin a journal in the store");
	}
	*ret_journal = journal;
	return 0;
}

static int remember(struct journal *journal, struct journal_entry *entry)
{
	if (journal->n_entries == journal->n_allocated) {
		uint32_t more = journal->n_allocated ? 2 * journal->n_allocated : 16;
		struct journal_entry *grown =
			reallocarray(journal->entries, more, sizeof(*journal->entries));

		if (!grown)
			return -ENOMEM;
		journal->entries = grown;
		journal->n_allocated = more;
	}
	journal->entries[journal->n_entries++] = *entry;
	memset(entry, 0, sizeof(*entry));
	return 0;
}

static int append(struct journal *journal, const char *line)
{
	size_t len = strlen(line);
	int rc;

	if (journal->end + len > JOURNAL_BYTES_MAX)
		return -EFBIG;
	rc = io_write_full(&io_kernel, journal->fd, line, len, journal->end);
	if (rc == 0)
		rc = fdatasync(journal->fd) < 0 ? -errno : 0;
	if (rc == 0)
		journal->end += len;
	else if (ftruncate(journal->fd, (off_t)journal->end) < 0)
		journal->end = JOURNAL_BYTES_MAX; /* half a line stays: nothing may follow it */
	return rc;
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static int note_line(struct journal *journal, const char *line)
{
	char *noted;

	if (asprintf(&noted, "%s%s", journal->noted ? journal->noted : "", line) < 0)
		return -ENOMEM;
	free(journal->noted);
	journal->noted = noted;
	return 0;
}

int journal_note(struct journal *journal, enum journal_kind kind, const char *name,
	const char *more, uint64_t dev, uint64_t ino, struct err *err)
{
	struct journal_entry entry = {
		.kind = kind, .name = copy(name), .more = copy(more), .dev = dev, .ino = ino};
	AUTO_FREE char *line = NULL;
	int rc = journal_line(&entry, &line);

	if (rc == 0)
		rc = note_line(journal, line);
	if (rc == 0)
		rc = remember(journal, &entry);
	free(entry.name);
	free(entry.more);
	return rc < 0 ? err_sys(err, rc, "cannot write the journal of this run") : 0;
}

int journal_sync(struct journal *journal, struct err *err)
{
	AUTO_FREE char *noted = steal_ptr(&journal->noted);
	int rc = noted ? append(journal, noted) : 0;

	return rc < 0 ? err_sys(err, rc, "cannot write the journal of this run") : 0;
}

int journal_add(struct journal *journal, enum journal_kind kind, const char *name,
	const char *more, uint64_t dev, uint64_t ino, struct err *err)
{
	int rc = journal_note(journal, kind, name, more, dev, ino, err);

	return rc == 0 ? journal_sync(journal, err) : rc;
}

uint32_t journal_count(const struct journal *journal)
{
	return journal->n_entries;
}

const struct journal_entry *journal_entry(const struct journal *journal, uint32_t i)
{
	return &journal->entries[i];
}

uint32_t journal_undone(const struct journal *journal)
{
	uint32_t i = journal->n_entries;

	while (i > 0 && journal->entries[i - 1].kind != JOURNAL_DONE)
		i--;
	return i;
}

int journal_end(struct journal *journal, struct err *err)
{
	int rc = unlinkat(journal->dirfd, journal->name, 0) < 0 ? -errno : 0;

	/* A journal that ends with "done" may come back after a power cut; one
	 * whose entries were undone may not: a later run can get the same names
	 * and inode numbers. */
	if (rc == 0 && journal_undone(journal) < journal->n_entries)
		rc = io_fsync_dir(&io_kernel, journal->dirfd, ".");
	journal_close(journal);
	if (rc < 0 && rc != -ENOENT)
		return err_sys(err, rc, "cannot remove the journal of this run");
	return 0;
}

/* 1: ours now. 0: its run lives, or it is gone. */
static int adopt(struct journal *journal, const char *name)
{
	struct stat st;
	int rc;

	journal->fd = openat(journal->dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (journal->fd < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = io_lock(journal->fd, true, 0, 1);
	if (rc < 0)
		return rc == -EAGAIN ? 0 : rc;
	if (fstat(journal->fd, &st) < 0)
		return -errno;
	return st.st_nlink > 0;
}

static int load(struct journal *journal, const char *name, struct err *err)
{
	AUTO_FREE char *text = NULL;
	size_t len, good;
	int rc = io_slurp(&io_kernel, journal->dirfd, name, JOURNAL_BYTES_MAX, &text, &len);

	if (rc < 0)
		return err_sys(err, rc, "cannot read the journal %s", name);
	rc = journal_parse(text, len, &journal->entries, &journal->n_entries, &good, err);
	if (rc < 0) {
		err_prefix(err, "the journal %s of a killed run", name);
		err_hint(err, "what it made may be left over; to go on, move %s/%s out of the store",
			JOURNAL_DIR, name);
		return rc;
	}
	journal->n_allocated = journal->n_entries;
	journal->end = good;
	memcpy(journal->name, name, strlen(name) + 1); /* its length was looked at */
	return 1;
}

/* 1: *ret_journal. 0: not an orphan. */
static int try_orphan(int dirfd, const char *name, struct journal **ret_journal, struct err *err)
{
	struct journal *journal = journal_new(dirfd);
	int rc;

	if (!journal)
		return err_sys(err, -ENOMEM, "cannot open the journal %s", name);
	rc = adopt(journal, name);
	if (rc < 0)
		err_sys(err, rc, "cannot open the journal %s", name);
	if (rc > 0)
		rc = load(journal, name, err);
	if (rc > 0)
		*ret_journal = journal;
	else
		journal_close(journal);
	return rc;
}

/* Killed before its first line: nothing was made. */
static void drop_unborn(int dirfd, const char *name)
{
	AUTO_CLOSE int fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && io_lock(fd, true, 0, 1) == 0)
		unlinkat(dirfd, name, 0);
}

static bool ends_with(const char *name, const char *suffix, size_t len)
{
	return strlen(name) == len && strcmp(name + len - strlen(suffix), suffix) == 0;
}

int journal_next_orphan(int store_dirfd, struct journal **ret_journal, struct err *err)
{
	int fd = openat(store_dirfd, JOURNAL_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct dirent *item;
	DIR *dir;
	int rc = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		rc = err_sys(err, -errno, "cannot open the store's journal directory");
		close_fd(&fd);
		return rc;
	}
	while (rc == 0 && (item = readdir(dir))) {
		if (ends_with(item->d_name, NEW_SUFFIX, ID_TEXT + strlen(NEW_SUFFIX)))
			drop_unborn(fd, item->d_name);
		if (ends_with(item->d_name, JOURNAL_SUFFIX, ID_TEXT - 1 + strlen(JOURNAL_SUFFIX)))
			rc = try_orphan(fd, item->d_name, ret_journal, err);
	}
	closedir(dir);
	return rc;
}
