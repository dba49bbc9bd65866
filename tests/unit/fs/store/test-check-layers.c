/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Repair of layers beside commands that make clones: none is left on a layer that is gone. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/format.h"
#include "fs/store/layers.h"
#include "tests/lib/onestore.h"
#include "tests/lib/scratch.h"

static struct {
	struct id layer;
	char file[512];            /* its log */
	void (*meanwhile)(void);   /* while the check asks about the layer */
	unsigned int asked, repaired;
	struct err err;            /* of the repair that failed */
} t;

/* A layer whose first record is damaged. */
static void make_damaged_layer(void)
{
	char text[ID_TEXT];

	memset(&t, 0, sizeof(t));
	onestore_make(CLEAN, false);
	t.layer = onestore_freeze();
	onestore_flip_layer(&t.layer, FORMAT_PAGE + 20, 0);
	id_format(&t.layer, text);
	snprintf(t.file, sizeof(t.file), "%s/store/layers/%s.log", onestore.top, text);
}

/* Into clones/ without the layers' lock, as if it had been staged before the check took it. */
static void clone_appears(void)
{
	struct store *store = onestore_open();
	struct manifest *m = onestore_manifest_beside(store, "late");
	char log[ID_TEXT], *text;
	size_t len;
	int fd;

	scratch_run(NULL, "mkdir %s/store/clones/late", onestore.top);
	fd = store_clone_dirfd(store, "late");
	id_format(&m->disks[0].log, log);
	assert_int_equal(delta_create(&io_kernel, fd, log, m->disks[0].size_bytes, NULL), 0);
	assert_int_equal(manifest_format(m, &text, &len), 0);
	assert_int_equal(io_write_file(&io_kernel, fd, "manifest", text, len, 0600), 0);
	close(fd);
	free(text);
	manifest_free(m);
	store_close(store);
}

/* By the door: staged and committed beside the check, which goes on. */
static void clone_is_made(void)
{
	struct store *store = onestore_open();
	struct manifest *m = onestore_manifest_beside(store, "late");
	struct store_stage *stage;

	assert_int_equal(store_stage(store, m, &stage, NULL), 0);
	assert_int_equal(store_commit(stage, NULL), 0);
	manifest_free(m);
	store_close(store);
}

static void clone_is_staged(void)
{
	scratch_run(NULL, "mkdir %s/store/staging/%032d", onestore.top, 7);
}

static void clone_is_removed(void)
{
	struct store *store = onestore_open();
	struct manifest *m;

	assert_int_equal(store_manifest_read(store, "other", &m, NULL), 0);
	assert_int_equal(store_remove(store, "other", &m->id, NULL), 0);
	manifest_free(m);
	store_close(store);
}

static pid_t child;

/* A command that holds the layers' lock while the repair wants it. */
static void command_holds_the_lock(void)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		struct store *store;

		if (store_open(&io_kernel, onestore_path("store"), &store, NULL) < 0 ||
			layers_lock(store, false) < 0)
			_exit(1);
		close(ready[1]);
		pause();
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 0);
	close(ready[0]);
}

static bool yes(void *ctx, const struct check_problem *problem, bool may_repair)
{
	if (strncmp(problem->where, "layer ", 6) == 0 && t.asked++ == 0 && t.meanwhile)
		t.meanwhile();
	return true;
}

static void see(void *ctx, const struct check_problem *problem, int rc, const struct err *err)
{
	t.repaired += rc == 0;
	if (rc < 0)
		t.err = *err;
}

static void repair(void (*meanwhile)(void))
{
	struct check check = {.repair = true, .full = true, .ask = yes, .repaired = see};
	struct store *store = onestore_open();
	struct err err = {0};

	t.meanwhile = meanwhile;
	t.asked = t.repaired = 0;
	t.err = (struct err){0};
	assert_int_equal(check_store(&check, &io_kernel, store, NULL, 0, &err), 0);
	store_close(store);
}

static unsigned int layer_logs(void)
{
	char *n;
	unsigned int count;

	assert_int_equal(scratch_run(&n, "ls %s/store/layers/*.log | wc -l", onestore.top), 0);
	count = (unsigned int)atoi(n);
	free(n);
	return count;
}

/* Refused with that word in the message; nothing changed; then the repair is done. */
static void refused_then_done(const char *word)
{
	assert_int_equal(t.err.code, -EBUSY);
	assert_non_null(strstr(t.err.message, word));
	assert_int_equal(access(t.file, F_OK), 0);
	assert_int_equal(layer_logs(), 1);
	scratch_run(NULL, "rm -rf %s/store/staging/*", onestore.top);
	repair(NULL);
	assert_true(t.repaired > 0);
	assert_int_equal(t.err.code, 0);
	assert_int_equal(access(t.file, F_OK), -1);
	assert_int_equal(onestore_check(NO, true), 0);
}

static void late_clone_keeps_its_layer(void **state)
{
	void (*const late[])(void) = {clone_appears, clone_is_made};

	for (size_t i = 0; i < 2; i++) {
		make_damaged_layer();
		repair(late[i]);
		refused_then_done("was made since the check began");
	}
}

static void stage_keeps_its_layer(void **state)
{
	make_damaged_layer();
	repair(clone_is_staged);
	refused_then_done("is being made");
}

static void repair_waits_for_a_command_and_gives_up(void **state)
{
	make_damaged_layer();
	repair(command_holds_the_lock);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	refused_then_done("being made or removed");
}

static void removed_clone_is_no_obstacle(void **state)
{
	struct store *store;
	struct manifest *m;
	struct store_stage *stage;

	make_damaged_layer();
	store = onestore_open();
	m = onestore_manifest_beside(store, "other");
	assert_int_equal(store_stage(store, m, &stage, NULL), 0);
	assert_int_equal(store_commit(stage, NULL), 0);
	manifest_free(m);
	store_close(store);
	repair(clone_is_removed);
	assert_int_equal(t.err.code, 0);
	assert_int_equal(access(t.file, F_OK), -1);
	assert_int_equal(onestore_check(NO, true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(late_clone_keeps_its_layer),
		cmocka_unit_test(stage_keeps_its_layer),
		cmocka_unit_test(repair_waits_for_a_command_and_gives_up),
		cmocka_unit_test(removed_clone_is_no_obstacle),
	};

	return cmocka_run_group_tests(tests, onestore_setup, onestore_teardown);
}
