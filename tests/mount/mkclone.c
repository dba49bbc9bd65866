/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mkclone: make, show and remove clones without libvirt, through the doors of store and daemon.
 *
 *	mkclone make STORE NAME [OPTION...] [TARGET=]IMAGE...   a clone with a disk per
 *	                             image. Options of the one image that follows:
 *	                             --format F, --backing PATH:FORMAT[:DATA] (from the
 *	                             top down), --data PATH, --snapshot NAME
 *	mkclone stack STORE SOURCE NAME [SNAPSHOT]   on SOURCE's layers
 *	mkclone remove STORE NAME
 *	mkclone attach|detach STORE NAME
 *	mkclone hold STORE [OPTION...] IMAGE   until stdin ends; prints the identity
 *	mkclone status|stop STORE
 *	mkclone call STORE JSON      one request as it is; prints the reply
 *	mkclone bytes SEED COUNT     so many bytes that no codec can shrink
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/base.h"
#include "fs/ctl/ctl.h"
#include "fs/store/store.h"
#include "fs/util/cleanup.h"

/* The words of a command line that are left. */
struct words {
	char **at;
	int n;
};

static char *next_word(struct words *words)
{
	if (words->n == 0)
		return NULL;
	words->n--;
	return *words->at++;
}

static json_t *image_of(const char *path, const char *format, const char *data)
{
	return json_pack("{s:s, s:s, s:s*}", "path", path, "format", format, "data", data);
}

/* PATH:FORMAT[:DATA] */
static int add_backing(json_t *images, char *word, struct err *err)
{
	char *path = strtok(word, ":");
	char *format = strtok(NULL, ":");

	if (!format)
		return err_set(err, -EINVAL, "--backing PATH:FORMAT[:DATA]");
	return json_array_append_new(images, image_of(path, format, strtok(NULL, ":")));
}

/* One base: its options, then its image. *ret_word: that word. */
struct wanted {
	const char *format, *data, *snapshot;
	json_t *below;
	char *word;
};

static int get_wanted(struct words *words, struct wanted *ret_wanted, struct err *err)
{
	struct wanted w = {.format = "raw", .below = json_array()};
	int rc = 0;

	for (w.word = next_word(words); rc == 0 && w.word && strncmp(w.word, "--", 2) == 0;
		w.word = next_word(words)) {
		char *value = next_word(words);

		if (value && strcmp(w.word, "--format") == 0)
			w.format = value;
		else if (value && strcmp(w.word, "--data") == 0)
			w.data = value;
		else if (value && strcmp(w.word, "--snapshot") == 0)
			w.snapshot = value;
		else if (value && strcmp(w.word, "--backing") == 0)
			rc = add_backing(w.below, value, err);
		else
			rc = err_set(err, -EINVAL, "%s: unknown, or without a value", w.word);
	}
	if (rc == 0 && !w.word)
		rc = err_set(err, -EINVAL, "no image after the options");
	*ret_wanted = w;
	return rc;
}

static int source_of(const struct wanted *wanted, const char *path,
	struct base_source **ret_source, struct err *err)
{
	AUTO_FREE char *text = NULL;
	json_t *images = json_array();
	json_t *object = json_object();

	json_array_append_new(images, image_of(path, wanted->format, wanted->data));
	json_array_extend(images, wanted->below);
	json_object_set_new(object, "images", images);
	if (wanted->snapshot)
		json_object_set_new(object, "snapshot", json_string(wanted->snapshot));
	text = json_dumps(object, 0);
	json_decref(object);
	json_decref(wanted->below);
	return base_source_parse(text, ret_source, err);
}

static int identify(const struct wanted *wanted, const char *path, char **ret_identity,
	uint64_t *ret_size_bytes, struct err *err)
{
	struct base_source *source;
	int rc = source_of(wanted, path, &source, err);

	if (rc < 0)
		return rc;
	rc = base_identify(source, ret_identity, ret_size_bytes, err);
	base_source_free(source);
	return rc;
}

static int add_disk(struct manifest *m, struct words *words, unsigned int nth, struct err *err)
{
	char target[STORE_TARGET_MAX + 1];
	struct wanted wanted;
	char *image;
	AUTO_FREE char *path = NULL;
	struct store_disk *disk;
	uint64_t size;
	int rc = get_wanted(words, &wanted, err);

	if (rc < 0)
		return rc;
	image = strchr(wanted.word, '=');
	snprintf(target, sizeof(target), "vd%c", 'a' + nth);
	if (image) {
		*image = '\0';
		snprintf(target, sizeof(target), "%s", wanted.word);
	}
	path = realpath(image ? image + 1 : wanted.word, NULL);
	if (!path)
		return err_sys(err, -errno, "%s", wanted.word);
	disk = manifest_add_disk(m, target);
	if (!disk)
		return err_sys(err, -ENOMEM, "disk");
	rc = identify(&wanted, path, &disk->base_identity, &size, err);
	if (rc < 0)
		return rc;
	disk->base_path = steal_ptr(&path);
	disk->base_format = strdup(wanted.format);
	disk->size_bytes = (size + 511) / 512 * 512;
	disk->base_limit_bytes = size;
	disk->uid = geteuid();
	disk->gid = getegid();
	disk->mode = 0600;
	return 0;
}

static int publish(struct store *store, const struct manifest *m, struct err *err)
{
	struct store_stage *stage;
	int rc = store_stage(store, m, &stage, err);

	return rc < 0 ? rc : store_commit(stage, err);
}

static int make_clone(const char *store_path_arg, const char *name, struct words words,
	struct err *err)
{
	struct store *store = NULL;
	struct manifest *m = NULL;
	int rc = store_create(&io_kernel, store_path_arg, err);

	if (rc == 0)
		rc = store_open(&io_kernel, store_path_arg, &store, err);
	if (rc == 0)
		rc = manifest_new(name, &m);
	for (unsigned int i = 0; rc == 0 && words.n > 0; i++)
		rc = add_disk(m, &words, i, err);
	if (rc == 0)
		rc = publish(store, m, err);
	manifest_free(m);
	store_close(store);
	return rc;
}

/* Make of a copy of a manifest that of another clone, on what lies below it. */
static int restack(struct manifest *m, const char *name, const char *snapshot, struct err *err)
{
	struct manifest *fresh;
	const struct store_snapshot *at = snapshot ? manifest_snapshot(m, snapshot) : NULL;
	int rc = manifest_new(name, &fresh);

	if (rc < 0 || (snapshot && !at))
		return err_set(err, -ENOENT, "no such snapshot");
	for (uint32_t i = 0; i < m->n_disks; i++) {
		struct store_disk *disk = &m->disks[i];
		uint32_t top = at ? manifest_snapshot_top(m, at, disk) : 0;

		disk->log = id_new();
		disk->n_layers -= top;
		memmove(disk->layers, disk->layers + top, disk->n_layers * sizeof(*disk->layers));
	}
	for (uint32_t i = 0; i < m->n_snapshots; i++)
		store_snapshot_release(&m->snapshots[i]);
	m->n_snapshots = 0;
	free(m->name);
	m->name = steal_ptr(&fresh->name);
	m->id = fresh->id;
	m->node = fresh->node;
	manifest_free(fresh);
	return 0;
}

static int stack_clone(struct store *store, const char *source, const char *name,
	const char *snapshot, struct err *err)
{
	struct manifest *m;
	int rc = store_manifest_read(store, source, &m, err);

	if (rc < 0)
		return rc;
	rc = restack(m, name, snapshot, err);
	if (rc == 0)
		rc = publish(store, m, err);
	manifest_free(m);
	return rc;
}

static int remove_clone(struct store *store, const char *name, struct err *err)
{
	struct manifest *m;
	int rc = store_manifest_read(store, name, &m, err);

	if (rc < 0)
		return rc;
	rc = store_remove(store, name, &m->id, err);
	manifest_free(m);
	return rc;
}

static int print_json(json_t *object)
{
	json_dumpf(object, stdout, JSON_INDENT(1) | JSON_SORT_KEYS);
	putchar('\n');
	json_decref(object);
	return 0;
}

static int hold(struct ctl *ctl, struct words words, struct err *err)
{
	struct wanted wanted;
	AUTO_FREE char *identity = NULL;
	uint64_t size;
	bool first;
	struct base_source *source;
	AUTO_FREE char *text = NULL;
	int rc = get_wanted(&words, &wanted, err);

	if (rc == 0)
		rc = source_of(&wanted, wanted.word, &source, err);
	if (rc < 0)
		return rc;
	rc = base_source_format(source, &text);
	base_source_free(source);
	if (rc == 0)
		rc = ctl_hold(ctl, text, &identity, &size, &first, err);

	if (rc < 0)
		return rc;
	printf("%" PRIu64 " %s\n", size, identity);
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

static int talk(struct store *store, int argc, char **argv, struct err *err)
{
	struct ctl *ctl;
	json_t *reply = NULL;
	int rc = ctl_connect(store_id(store), &ctl, err);

	if (rc < 0)
		return rc;
	if (strcmp(argv[1], "status") == 0)
		rc = ctl_status(ctl, &reply, err);
	else if (strcmp(argv[1], "stop") == 0)
		rc = ctl_stop(ctl, err);
	else if (strcmp(argv[1], "attach") == 0 && argv[3])
		rc = ctl_attach(ctl, argv[3], err);
	else if (strcmp(argv[1], "detach") == 0 && argv[3])
		rc = ctl_detach(ctl, argv[3], NULL, err);
	else if (strcmp(argv[1], "hold") == 0 && argv[3])
		rc = hold(ctl, (struct words){argv + 3, argc - 3}, err);
	else if (strcmp(argv[1], "call") == 0 && argv[3])
		rc = ctl_call(ctl, json_loads(argv[3], 0, NULL), &reply, err);
	else
		rc = err_set(err, -EINVAL, "usage: see the head of mkclone.c");
	ctl_close(ctl);
	if (reply)
		print_json(reply);
	return rc;
}

static int print_bytes(const char *seed, const char *count)
{
	uint64_t state = strtoull(seed, NULL, 10) * 2 + 1;

	for (uint64_t left = strtoull(count, NULL, 10); left > 0; left--) {
		/* splitmix64's step: every seed gives another stream. */
		uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		putchar_unlocked((int)(z >> 56));
	}
	return fflush(stdout) == 0 ? 0 : -errno;
}

static int run(int argc, char **argv, struct err *err)
{
	struct store *store = NULL;
	int rc;

	if (argc < 3)
		return err_set(err, -EINVAL, "usage: see the head of mkclone.c");
	if (strcmp(argv[1], "bytes") == 0 && argc == 4)
		return print_bytes(argv[2], argv[3]);
	if (strcmp(argv[1], "make") == 0 && argc >= 5)
		return make_clone(argv[2], argv[3], (struct words){argv + 4, argc - 4}, err);
	rc = store_open(&io_kernel, argv[2], &store, err);
	if (rc == 0 && strcmp(argv[1], "remove") == 0 && argc == 4)
		rc = remove_clone(store, argv[3], err);
	else if (rc == 0 && strcmp(argv[1], "stack") == 0 && argc >= 5)
		rc = stack_clone(store, argv[3], argv[4], argv[5], err);
	else if (rc == 0)
		rc = talk(store, argc, argv, err);
	store_close(store);
	return rc;
}

int main(int argc, char **argv)
{
	struct err err = {0};
	int rc = run(argc, argv, &err);

	if (rc < 0 && err.code == 0)
		err_sys(&err, rc, "%s", argv[1]);
	if (rc < 0)
		err_print("mkclone", &err);
	return err_exit_status(rc);
}
