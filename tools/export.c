/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lazyclone-export: a disk of a clone as an image file, without a daemon and without libvirt.
 *
 * What cannot be read ends it; with --salvage zeros are written there, each place is
 * said, and the exit status says that the image is not the disk.
 *
 * Order: a new file beside OUTPUT, written, synced; then its rename, which
 * replaces nothing; then the directory's sync. A crash leaves OUTPUT whole or
 * not there, and perhaps the file beside it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/proc.h"
#include "fs/util/progress.h"
#include "fs/util/round.h"
#include "tools/stack.h"
#include "tools/tool.h"

#define HOLE_BYTES 4096u /* zeros of that length are not written */
#define SALVAGE_BYTES 4096u /* what is tried alone when a longer read fails: a block */

struct export_args {
	struct tool_args common;
	const char *format, *snapshot, *layer;
	bool compare, salvage, quiet;
};

#define ARG(letter_, name_, value_, help_, member)                                                 \
	{.letter = (letter_), .name = (name_), .value = (value_), .help = (help_),                 \
		.offset = offsetof(struct export_args, member)}

static const struct cli_option options[] = {
	ARG('O', "format", "raw|qcow2", "what to write (raw)", format),
	ARG(0, "snapshot", "NAME", "the disk as it was then", snapshot),
	ARG(0, "layer", "ID", "the disk up to this layer", layer),
	ARG(0, "compare", NULL, "read the file back and compare it with the disk", compare),
	ARG(0, "salvage", NULL, "zeros for what cannot be read; exit status 8", salvage),
	ARG('q', "quiet", NULL, "no progress", quiet),
	{.name = NULL},
};

static const struct tool tool = {
	.name = "lazyclone-export",
	.section = 1,
	.usage = "lazyclone-export [-O raw|qcow2] [--snapshot NAME|--layer ID] [--salvage]\n"
		 "                        STORE CLONE DISK OUTPUT",
	.summary = "Write a disk of a clone to an image file that needs nothing else.",
	.options = options,
	.min_words = 4,
	.max_words = 4,
};

/* One export under way. */
struct exporting {
	const struct export_args *args;
	struct disk *disk;
	struct progress progress;
	const char *output;
	char temp[PATH_MAX], raw[PATH_MAX]; /* files beside OUTPUT; "": not made */
	uint8_t *buf, *back; /* DISK_IO_MAX each */
	/* What was not read: the last place, which is not said yet, and all. */
	uint64_t lost_off, lost_end, lost_bytes, lost_places;
	struct err *err;
};

static volatile sig_atomic_t cancelled;

static void cancel(int signal)
{
	(void)signal;
	cancelled = 1;
}

/* ---- the raw image ---- */

static int write_data(struct exporting *e, int fd, size_t len, uint64_t off)
{
	static const uint8_t zeros[HOLE_BYTES];

	for (size_t done = 0; done < len;) {
		size_t n = 0;

		while (done + n < len && memcmp(e->buf + done + n, zeros,
						 min_u64(HOLE_BYTES, len - done - n)) != 0)
			n += min_u64(HOLE_BYTES, len - done - n);
		if (n > 0) {
			int rc = io_write_full(&io_kernel, fd, e->buf + done, n, off + done);

			if (rc < 0)
				return err_sys(e->err, rc, "writing %s", e->output);
		}
		done += n;
		if (done < len)
			done += min_u64(HOLE_BYTES, len - done);
	}
	return 0;
}

static int compare_data(struct exporting *e, int fd, size_t len, uint64_t off)
{
	int rc = io_read_full(&io_kernel, fd, e->back, len, off);

	if (rc < 0)
		return err_sys(e->err, rc, "reading %s back", e->output);
	if (memcmp(e->buf, e->back, len) != 0)
		return err_set(e->err, -EIO, "%s differs from the disk at %llu", e->output,
			(unsigned long long)off);
	return 0;
}

static void begin_progress(struct exporting *e, const char *what)
{
	progress_begin(&e->progress, what, stderr, e->args->quiet);
}

static void say_lost(struct exporting *e)
{
	if (e->lost_end == e->lost_off)
		return;
	progress_end(&e->progress);
	fprintf(stderr, "%s: cannot be read, zeros instead: %" PRIu64 " bytes at %" PRIu64 "\n",
		tool.name, e->lost_end - e->lost_off, e->lost_off);
	begin_progress(e, e->output);
	e->lost_places++;
	e->lost_bytes += e->lost_end - e->lost_off;
	e->lost_off = e->lost_end;
}

static void lose(struct exporting *e, size_t len, uint64_t off)
{
	if (e->lost_end != off) {
		say_lost(e);
		e->lost_off = off;
	}
	e->lost_end = off + len;
}

/* Block by block, in the place of a read that failed; first: of these bytes. */
static int salvage(struct exporting *e, size_t len, uint64_t off, bool first)
{
	int rc = 0;

	for (size_t done = 0, n; rc == 0 && done < len; done += n) {
		n = min_u64(SALVAGE_BYTES, len - done);
		rc = cancelled ? -EINTR : disk_read(e->disk, e->buf + done, n, off + done, 0);
		if (rc != -EIO)
			continue;
		memset(e->buf + done, 0, n);
		if (first)
			lose(e, n, off + done);
		rc = 0;
	}
	return rc;
}

static int read_piece(struct exporting *e, size_t len, uint64_t off, bool first)
{
	int rc = disk_read(e->disk, e->buf, len, off, 0);

	if (rc == -EIO && e->args->salvage)
		rc = salvage(e, len, off, first);
	if (rc == 0)
		return 0;
	if (rc == -EINTR)
		return err_set(e->err, rc, "cancelled");
	err_sys(e->err, rc, "reading the disk at %" PRIu64, off);
	err_hint(e->err, "lazyclone-fsck -n -f says what is damaged, --salvage goes on");
	return rc;
}

/* The next run of data from *off on. 1: there is none any more. */
static int next_run(struct exporting *e, uint64_t *off, uint64_t *ret_end)
{
	int rc = disk_seek(e->disk, *off, true, off);

	if (rc == 0)
		rc = disk_seek(e->disk, *off, false, ret_end);
	if (rc == -ENXIO)
		return 1;
	return rc < 0 ? err_sys(e->err, rc, "looking for data at %" PRIu64, *off) : 0;
}

/* Call fn for all data of the disk, in pieces; or, again, for all of it. */
static int each_piece(struct exporting *e, int fd, bool again,
	int (*fn)(struct exporting *e, int fd, size_t len, uint64_t off))
{
	uint64_t size = disk_size(e->disk), off = 0, end = again ? size : 0;
	int rc = 0;

	while (rc == 0 && off < size) {
		size_t len;

		if (cancelled)
			return err_set(e->err, -EINTR, "cancelled");
		if (off >= end)
			rc = next_run(e, &off, &end);
		if (rc != 0)
			break;
		len = (size_t)min_u64(DISK_IO_MAX, min_u64(end, size) - off);
		rc = read_piece(e, len, off, !again);
		if (rc == 0)
			rc = fn(e, fd, len, off);
		off += len;
		progress_update(&e->progress, off, size);
	}
	say_lost(e);
	return rc < 0 ? rc : 0;
}

/* A name beside OUTPUT that nobody else has. */
static int make_beside(struct exporting *e, const char *suffix, char path[static PATH_MAX])
{
	struct id id = id_new();
	char text[ID_TEXT];
	int fd;

	id_format(&id, text);
	if (snprintf(path, PATH_MAX, "%s.%.8s.%s", e->output, text, suffix) >= PATH_MAX) {
		path[0] = '\0';
		return err_set(e->err, -ENAMETOOLONG, "%s", e->output);
	}
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		fd = err_sys(e->err, -errno, "%s", path);
		path[0] = '\0';
	}
	return fd;
}

static int write_raw(struct exporting *e, char path[static PATH_MAX])
{
	AUTO_CLOSE int fd = make_beside(e, "tmp", path);
	int rc;

	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)disk_size(e->disk)) < 0)
		return err_sys(e->err, -errno, "%s", path);
	begin_progress(e, e->output);
	rc = each_piece(e, fd, false, write_data);
	progress_end(&e->progress);
	if (rc == 0 && fsync(fd) < 0)
		rc = err_sys(e->err, -errno, "syncing %s", path);
	if (rc == 0 && e->args->compare) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		begin_progress(e, "comparing");
		rc = each_piece(e, fd, true, compare_data);
		progress_end(&e->progress);
	}
	return rc;
}

/* ---- qcow2 ---- */

static int convert(struct exporting *e)
{
	const char *const argv[] = {
		"qemu-img", "convert", "-f", "raw", "-O", "qcow2", e->raw, e->temp, NULL};
	char said[PROC_STDERR_MAX];
	AUTO_CLOSE int fd = -1;
	int status, rc = proc_run(argv, INT_MAX, &status, said, e->err);

	if (rc < 0) {
		err_hint(e->err, "qcow2 is written by qemu-img: install qemu-utils, or use -O raw");
		return rc;
	}
	if (status != 0)
		return err_set(e->err, -EIO, "qemu-img: %s", said);
	fd = open(e->temp, O_RDONLY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? err_sys(e->err, -errno, "syncing %s", e->temp) : 0;
}

static int write_qcow2(struct exporting *e)
{
	int fd, rc = write_raw(e, e->raw);

	if (rc < 0)
		return rc;
	fd = make_beside(e, "tmp", e->temp);
	if (fd < 0)
		return fd;
	close(fd);
	return convert(e);
}

/* ---- the file ---- */

static int sync_parent(const char *path)
{
	AUTO_FREE char *parent = strdup(path);
	char *slash = parent ? strrchr(parent, '/') : NULL;

	if (!parent)
		return -ENOMEM;
	if (slash)
		slash[slash == parent] = '\0';
	return io_fsync_dir(&io_kernel, AT_FDCWD, slash ? parent : ".");
}

static int publish(struct exporting *e)
{
	int rc = io_kernel.renameat(
		&io_kernel, AT_FDCWD, e->temp, AT_FDCWD, e->output, RENAME_NOREPLACE);

	if (rc == -EINVAL || rc == -ENOSYS) { /* a file system that cannot tell */
		struct stat st;

		rc = lstat(e->output, &st) == 0 ? -EEXIST
			: rename(e->temp, e->output) < 0 ? -errno : 0;
	}
	if (rc == 0) {
		e->temp[0] = '\0';
		rc = sync_parent(e->output);
	}
	return rc < 0 ? err_sys(e->err, rc, "%s", e->output) : 0;
}

static void clean_up(struct exporting *e)
{
	if (e->temp[0])
		unlink(e->temp);
	if (e->raw[0])
		unlink(e->raw);
	free(e->buf);
	free(e->back);
}

static int write_output(struct exporting *e, bool qcow2)
{
	struct stat st;
	int rc;

	if (lstat(e->output, &st) == 0)
		return err_set(e->err, -EEXIST, "%s is there already", e->output);
	e->buf = malloc(DISK_IO_MAX);
	e->back = malloc(DISK_IO_MAX);
	rc = e->buf && e->back ? 0 : err_sys(e->err, -ENOMEM, "%s", e->output);
	if (rc == 0)
		rc = qcow2 ? write_qcow2(e) : write_raw(e, e->temp);
	if (rc == 0)
		rc = publish(e);
	if (rc == 0 && e->lost_places > 0)
		rc = err_set(e->err, -EREMOTEIO,
			"%s: %" PRIu64 " bytes in %" PRIu64
			" places could not be read, and are zeros there",
			e->output, e->lost_bytes, e->lost_places);
	return rc;
}

static int run(const struct export_args *args, char **words, struct err *err)
{
	struct stack_wanted wanted = {.clone = words[1], .target = words[2],
		.snapshot = args->snapshot, .layer = args->layer};
	struct exporting e = {.args = args, .output = words[3], .err = err};
	bool qcow2 = args->format && strcmp(args->format, "qcow2") == 0;
	struct stack_view view;
	struct store *store;
	int rc;

	if (args->format && !qcow2 && strcmp(args->format, "raw") != 0)
		return err_set(err, -EINVAL, "%s: not raw or qcow2", args->format);
	if (args->snapshot && args->layer)
		return err_set(err, -EINVAL, "only one of --snapshot and --layer");
	rc = store_open(&io_kernel, words[0], &store, err);
	if (rc < 0)
		return rc;
	rc = stack_open(store, &wanted, &view, err);
	if (rc == 0) {
		e.disk = view.disk;
		rc = write_output(&e, qcow2);
		clean_up(&e);
		stack_close(&view);
	}
	store_close(store);
	if (rc == -EUCLEAN && !err->hint[0])
		err_hint(err, "lazyclone-fsck says what can be saved, and repairs it");
	return rc;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = cancel};
	struct export_args args = {.quiet = false};
	struct err err = {0};
	int n_words, rc = tool_parse(&tool, &args, argc, argv, &n_words, &err);

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (rc == 0)
		rc = run(&args, argv + 1, &err);
	if (rc >= 0)
		rc = tool_finish(&err);
	if (rc < 0)
		tool_print_error(&tool, &err);
	return err_exit_status(rc);
}
