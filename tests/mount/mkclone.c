/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mkclone: make, show and remove clones without libvirt, through the doors of store and daemon.
 *
 *	mkclone make STORE NAME [TARGET=]IMAGE...   a clone with a disk per image
 *	mkclone stack STORE SOURCE NAME [SNAPSHOT]   on SOURCE's layers
 *	mkclone remove STORE NAME
 *	mkclone attach|detach STORE NAME
 *	mkclone hold STORE IMAGE     until stdin ends; prints the identity
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

static int identify(const char *path, char **ret_identity, uint64_t *ret_size_bytes,
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

static int add_disk(struct manifest *m, char *word, unsigned int nth, struct err *err)
{
	char target[STORE_TARGET_MAX + 1];
	char *image = strchr(word, '=');
	AUTO_FREE char *path = NULL;
	struct store_disk *disk;
	uint64_t size;
	int rc;

	snprintf(target, sizeof(target), "vd%c", 'a' + nth);
	if (image) {
		*image = '\0';
		snprintf(target, sizeof(target), "%s", word);
	}
	path = realpath(image ? image + 1 : word, NULL);
	if (!path)
		return err_sys(err, -errno, "%s", word);
	disk = manifest_add_disk(m, target);
	if (!disk)
		return err_sys(err, -ENOMEM, "disk");
	rc = identify(path, &disk->base_identity, &size, err);
	if (rc < 0)
		return rc;
	disk->base_path = steal_ptr(&path);
	disk->base_format = strdup("raw");
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

static int make_clone(const char *store_path_arg, const char *name, char **words, int n_words,
	struct err *err)
{
	struct store *store = NULL;
	struct manifest *m = NULL;
	int rc = store_create(&io_kernel, store_path_arg, err);

	if (rc == 0)
		rc = store_open(&io_kernel, store_path_arg, &store, err);
	if (rc == 0)
		rc = manifest_new(name, &m);
	for (int i = 0; rc == 0 && i < n_words; i++)
		rc = add_disk(m, words[i], (unsigned int)i, err);
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

static int hold(struct ctl *ctl, const char *image, struct err *err)
{
	AUTO_FREE char *identity = NULL;
	uint64_t size;
	bool first;
	struct base_source *source;
	AUTO_FREE char *text = NULL;
	int rc = base_source_raw(image, &source);

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

static int talk(struct store *store, char **argv, struct err *err)
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
		rc = hold(ctl, argv[3], err);
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
		return make_clone(argv[2], argv[3], argv + 4, argc - 4, err);
	rc = store_open(&io_kernel, argv[2], &store, err);
	if (rc == 0 && strcmp(argv[1], "remove") == 0 && argc == 4)
		rc = remove_clone(store, argv[3], err);
	else if (rc == 0 && strcmp(argv[1], "stack") == 0 && argc >= 5)
		rc = stack_clone(store, argv[3], argv[4], argv[5], err);
	else if (rc == 0)
		rc = talk(store, argv, err);
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
