/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Manifests: round trip, and every name, size and count that must be refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "fs/store/sealed.h"
#include "fs/store/store.h"

static struct manifest *make(uint32_t disks)
{
	struct manifest *m;

	assert_int_equal(manifest_new("web-clone1", &m), 0);
	for (uint32_t i = 0; i < disks; i++) {
		char target[STORE_TARGET_MAX];
		struct store_disk *disk;

		snprintf(target, sizeof(target), "vd%u", i);
		disk = manifest_add_disk(m, target);
		assert_non_null(disk);
		disk->size_bytes = 8192 + 512 * i;
		disk->base_limit_bytes = 8192;
		disk->base_path = strdup("/images/\xc3\xa4 web.img");
		disk->base_format = strdup("raw");
		disk->base_identity = strdup("fsid=1 ino=2 \"quoted\" \\ back");
		disk->uid = 64055;
		disk->gid = UINT32_MAX - 1;
		disk->mode = 0640;
	}
	return m;
}

/* Disk i gets i layers, and of its snapshots the one numbered k says as top
 * the k-th layer from below. */
static struct manifest *make_layered(uint32_t disks, uint32_t snapshots)
{
	struct manifest *m = make(disks);

	for (uint32_t i = 0; i < disks; i++) {
		struct store_disk *disk = &m->disks[i];

		disk->n_layers = i < STORE_LAYERS_MAX ? i : STORE_LAYERS_MAX;
		disk->layers = calloc(disk->n_layers + 1, sizeof(*disk->layers));
		for (uint32_t k = 0; k < disk->n_layers; k++)
			disk->layers[k] = (struct store_layer){
				.id = id_new(), .size_bytes = disk->size_bytes - 512 * (k > 0)};
	}
	m->quota_bytes = 5u << 20;
	m->snapshots = calloc(snapshots + 1, sizeof(*m->snapshots));
	for (uint32_t s = 0; s < snapshots; s++) {
		struct store_snapshot *snapshot = &m->snapshots[m->n_snapshots++];
		char name[32];

		snprintf(name, sizeof(name), "before %u", s);
		snapshot->name = strdup(name);
		snapshot->created_sec = 1700000000 + s;
		snapshot->tops = calloc(disks + 1, sizeof(*snapshot->tops));
		for (uint32_t i = 0; i < disks; i++) {
			const struct store_disk *disk = &m->disks[i];

			if (s > 0 && disk->n_layers > 0)
				snapshot->tops[i] =
					disk->layers[disk->n_layers - 1 - (s - 1) % disk->n_layers].id;
		}
	}
	return m;
}

static void assert_same_disk(const struct store_disk *a, const struct store_disk *b)
{
	assert_string_equal(a->target, b->target);
	assert_int_equal(a->number, b->number);
	assert_true(id_equal(&a->log, &b->log));
	assert_int_equal(a->size_bytes, b->size_bytes);
	assert_int_equal(a->base_limit_bytes, b->base_limit_bytes);
	assert_string_equal(a->base_path, b->base_path);
	assert_string_equal(a->base_format, b->base_format);
	assert_string_equal(a->base_identity, b->base_identity);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->n_layers, b->n_layers);
	for (uint32_t i = 0; i < a->n_layers; i++) {
		assert_true(id_equal(&a->layers[i].id, &b->layers[i].id));
		assert_int_equal(a->layers[i].size_bytes, b->layers[i].size_bytes);
	}
}

static void assert_same_snapshots(const struct manifest *a, const struct manifest *b)
{
	assert_int_equal(a->n_snapshots, b->n_snapshots);
	for (uint32_t i = 0; i < a->n_snapshots; i++) {
		assert_string_equal(a->snapshots[i].name, b->snapshots[i].name);
		assert_int_equal(a->snapshots[i].created_sec, b->snapshots[i].created_sec);
		assert_memory_equal(a->snapshots[i].tops, b->snapshots[i].tops,
			a->n_disks * sizeof(struct id));
	}
}

static void round_trip(void **state)
{
	const uint32_t counts[] = {0, 1, 3, STORE_DISKS_MAX};

	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		struct manifest *m = make(counts[c]);
		struct manifest *back;
		char *text;
		size_t len;

		assert_int_equal(manifest_format(m, &text, &len), 0);
		assert_int_equal(len, strlen(text));
		assert_int_equal(manifest_parse(text, len, &back, NULL), 0);
		assert_string_equal(back->name, m->name);
		assert_true(id_equal(&back->id, &m->id));
		assert_int_equal(back->node, m->node);
		assert_int_equal(back->created_sec, m->created_sec);
		assert_int_equal(back->n_disks, counts[c]);
		for (uint32_t i = 0; i < counts[c]; i++)
			assert_same_disk(&back->disks[i], &m->disks[i]);
		manifest_free(back);
		manifest_free(m);
		free(text);
	}
}

/* The largest that is allowed fits the file's limit. */
static void layers_and_snapshots(void **state)
{
	struct manifest *m = make_layered(STORE_DISKS_MAX, STORE_SNAPSHOTS_MAX);
	struct manifest *back;
	struct store_snapshot *snapshot;

	assert_int_equal(manifest_copy(m, &back), 0);
	for (uint32_t i = 0; i < m->n_disks; i++)
		assert_same_disk(&back->disks[i], &m->disks[i]);
	assert_same_snapshots(back, m);
	assert_int_equal(back->quota_bytes, 5u << 20);

	assert_null(manifest_snapshot(back, "before"));
	snapshot = manifest_snapshot(back, "before 0");
	assert_int_equal(manifest_snapshot_top(back, snapshot, &back->disks[7]), 7);
	snapshot = manifest_snapshot(back, "before 1");
	assert_int_equal(manifest_snapshot_top(back, snapshot, &back->disks[7]), 6);
	assert_int_equal(manifest_snapshot_top(back, snapshot, &back->disks[0]), 0);
	snapshot = manifest_snapshot(back, "before 3");
	assert_int_equal(manifest_snapshot_top(back, snapshot, &back->disks[7]), 4);

	back->n_disks--; /* there is room for a disk, but its tops are not said */
	assert_null(manifest_add_disk(back, "sda"));
	back->n_disks++;
	manifest_free(back);
	manifest_free(m);
}

/* What a caller made wrong is told by the same checks. */
static void layers_refused(void **state)
{
	struct manifest *m = make_layered(3, 2), *copy;
	struct store_disk *disk = &m->disks[2];
	struct id id = disk->layers[0].id;

	disk->layers[0].id = disk->layers[1].id;
	assert_int_equal(manifest_copy(m, &copy), -EINVAL);
	disk->layers[0].id = m->disks[0].log;
	assert_int_equal(manifest_copy(m, &copy), -EINVAL);
	disk->layers[0].id = (struct id){{0}};
	assert_int_equal(manifest_copy(m, &copy), -EINVAL);
	disk->layers[0].id = id;
	disk->layers[1].size_bytes = disk->layers[0].size_bytes + 512;
	assert_int_equal(manifest_copy(m, &copy), -EINVAL);
	disk->layers[1].size_bytes = disk->layers[0].size_bytes;
	m->snapshots[1].tops[0] = id; /* of another disk */
	assert_int_equal(manifest_copy(m, &copy), -EINVAL);
	m->snapshots[1].tops[0] = (struct id){{0}};
	assert_int_equal(manifest_copy(m, &copy), 0);
	manifest_free(copy);
	manifest_free(m);
}

static void add_disk_limits(void **state)
{
	struct manifest *m = make(STORE_DISKS_MAX);

	assert_null(manifest_add_disk(m, "sda"));
	manifest_free(m);
	m = make(0);
	assert_null(manifest_add_disk(m, ""));
	assert_null(manifest_add_disk(m, "../x"));
	assert_int_equal(manifest_add_disk(m, "vda")->number, 1);
	m->disks[0].number = 9;
	assert_int_equal(manifest_add_disk(m, "vdb")->number, 10);
	manifest_free(m);
}

static void names(void **state)
{
	char longest[STORE_NAME_MAX + 2];
	static const char *const good[] = {
		"a", "web-clone1", "with space", "\xc3\xa4", "x.y", "-", "@:,+", "a..b"};
	static const char *const bad[] = {"", ".", "..", ".a", "a/b", "/", "a\nb", "\x7f",
		"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xc2\x85", "\xf4\x90\x80\x80", "\xe2\x82"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(store_name_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(store_name_valid(bad[i]));
	memset(longest, 'n', sizeof(longest));
	longest[STORE_NAME_MAX] = '\0';
	assert_true(store_name_valid(longest));
	longest[STORE_NAME_MAX] = 'n';
	longest[STORE_NAME_MAX + 1] = '\0';
	assert_false(store_name_valid(longest));
	assert_true(store_target_valid("vda"));
	assert_true(store_target_valid("disk0"));
	assert_false(store_target_valid("vd a"));
	assert_false(store_target_valid("-vda"));
	assert_false(store_target_valid("abcdefghijklmnopqrstuvwxyz0123456789"));
}

/* One damage each; the text that carries it is sealed anew, so that only the
 * check of that member can refuse it. */
struct damage {
	const char *says; /* part of the message */
	const char *disk; /* member of disk 1, or NULL */
	const char *base; /* member of its base, or NULL */
	const char *top;  /* member of the manifest, or NULL */
	const char *layer;    /* member of the only layer of disk 2, or NULL */
	const char *snapshot; /* member of snapshot 2, or NULL */
	const char *json; /* its new value; NULL: delete it */
};

static const struct damage damages[] = {
	{"name", .top = "name", .json = "\"../etc\""},
	{"name", .top = "name", .json = "\"\""},
	{"name", .top = "name", .json = "7"},
	{"name", .top = "name"},
	{"u0000", .top = "name", .json = "\"a\\u0000b\""},
	{"id", .top = "id", .json = "\"0\""},
	{"node", .top = "node", .json = "0"},
	{"node", .top = "node", .json = "1099511627776"},
	{"node", .top = "node", .json = "-1"},
	{"node", .top = "node", .json = "1.5"},
	{"created", .top = "created", .json = "-1"},
	{"disks", .top = "disks", .json = "{}"},
	{"disks", .top = "disks"},
	{"disk 1: target", .top = "disks", .json = "[7]"},
	{"target", .disk = "target", .json = "\"a/b\""},
	{"target is there twice", .disk = "target", .json = "\"vd1\""},
	{"number is there twice", .disk = "number", .json = "2"},
	{"number", .disk = "number", .json = "0"},
	{"number", .disk = "number", .json = "65536"},
	{"log", .disk = "log", .json = "\"xyz\""},
	{"size", .disk = "size_bytes", .json = "0"},
	{"size", .disk = "size_bytes", .json = "8193"},
	{"size", .disk = "size_bytes", .json = "70368744178176"},
	{"size", .disk = "size_bytes", .json = "-512"},
	{"limit", .base = "limit_bytes", .json = "8193"},
	{"limit", .base = "limit_bytes", .json = "-1"},
	{"path is not absolute", .base = "path", .json = "\"relative\""},
	{"path", .base = "path", .json = "\"\""},
	{"format", .base = "format", .json = "\"vmdk\""},
	{"identity", .base = "identity", .json = "\"two\\nlines\""},
	{"identity", .base = "identity"},
	{"base: path", .disk = "base"},
	{"uid", .disk = "uid", .json = "4294967296"},
	{"gid", .disk = "gid", .json = "\"root\""},
	{"mode", .disk = "mode", .json = "\"4755\""},
	{"mode", .disk = "mode", .json = "\"0800\""},
	{"mode", .disk = "mode", .json = "384"},
	{"quota", .top = "quota_bytes"},
	{"quota", .top = "quota_bytes", .json = "-1"},
	{"snapshots", .top = "snapshots"},
	{"snapshots", .top = "snapshots", .json = "7"},
	{"snapshot 1: name", .top = "snapshots", .json = "[7]"},
	{"layers", .disk = "layers"},
	{"layers", .disk = "layers", .json = "{\"id\": 1}"},
	{"layer 1: id", .disk = "layers", .json = "[7]"},
	{"layers", .disk = "layers", .json = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,"
		"20,21,22,23,24,25,26,27,28,29,30,31,32,33]"},
	{"id", .layer = "id", .json = "\"0123\""},
	{"zero", .layer = "id", .json = "\"00000000000000000000000000000000\""},
	{"a top is no layer", .layer = "id", .json = "\"00000000000000000000000000000001\""},
	{"size", .layer = "size_bytes"},
	{"size", .layer = "size_bytes", .json = "0"},
	{"size", .layer = "size_bytes", .json = "513"},
	{"larger than what is stacked", .layer = "size_bytes", .json = "9216"},
	{"snapshot 2: name", .snapshot = "name", .json = "\"a/b\""},
	{"name is there twice", .snapshot = "name", .json = "\"before 0\""},
	{"created", .snapshot = "created", .json = "-1"},
	{"tops", .snapshot = "tops"},
	{"tops", .snapshot = "tops", .json = "[\"00000000000000000000000000000000\"]"},
	{"top 2", .snapshot = "tops", .json = "[\"00000000000000000000000000000000\", 1]"},
	{"a top is no layer", .snapshot = "tops", .json =
		"[\"00000000000000000000000000000000\", \"00000000000000000000000000000001\"]"},
};

static const char *damaged_key(const struct damage *d)
{
	const char *const keys[] = {d->top, d->disk, d->base, d->layer, d->snapshot};
	size_t i = 0;

	while (!keys[i])
		i++;
	return keys[i];
}

static json_t *item(const json_t *object, const char *array, size_t i)
{
	return json_array_get(json_object_get(object, array), i);
}

static json_t *damaged_object(const struct damage *d, json_t *root)
{
	if (d->disk)
		return item(root, "disks", 0);
	if (d->base)
		return json_object_get(item(root, "disks", 0), "base");
	if (d->layer)
		return item(item(root, "disks", 1), "layers", 0);
	return d->snapshot ? item(root, "snapshots", 1) : root;
}

static void refused(void **state)
{
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		const struct damage *d = &damages[i];
		struct manifest *m = make_layered(2, 2);
		struct manifest *back = NULL;
		struct err err;
		json_t *root;
		json_t *at;
		const char *key = damaged_key(d);
		char *text;
		size_t len;

		assert_int_equal(manifest_format(m, &text, &len), 0);
		assert_int_equal(sealed_parse(text, len, "lazyclone manifest", &root, NULL), 0);
		free(text);
		at = damaged_object(d, root);
		json_object_del(at, key);
		if (d->json)
			json_object_set_new(at, key,
				json_loads(d->json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
		assert_int_equal(sealed_format(root, "lazyclone manifest", &text, &len), 0);
		assert_int_equal(manifest_parse(text, len, &back, &err), -EUCLEAN);
		if (!strstr(err.message, d->says))
			fail_msg("damage %zu: \"%s\" does not say \"%s\"", i, err.message, d->says);
		assert_null(back);
		json_decref(root);
		free(text);
		manifest_free(m);
	}
}

static void same_log_refused(void **state)
{
	struct manifest *m = make(2);
	char *text;
	size_t len;

	m->disks[1].log = m->disks[0].log;
	assert_int_equal(manifest_format(m, &text, &len), -EINVAL);
	manifest_free(m);
}

static void identity_limit(void **state)
{
	struct manifest *m = make(1);
	char *identity = malloc(STORE_IDENTITY_MAX + 2);
	char *text;
	size_t len;

	memset(identity, 'i', STORE_IDENTITY_MAX + 1);
	identity[STORE_IDENTITY_MAX + 1] = '\0';
	free(m->disks[0].base_identity);
	m->disks[0].base_identity = identity;
	assert_int_equal(manifest_format(m, &text, &len), -EINVAL);
	identity[STORE_IDENTITY_MAX] = '\0';
	assert_int_equal(manifest_format(m, &text, &len), 0);
	free(text);
	manifest_free(m);
}

/* No flip of one bit and no cut may pass for a manifest with other content. */
static void damaged_text(void **state)
{
	struct manifest *m = make_layered(2, 2);
	struct manifest *back;
	char *text;
	char *again;
	size_t len;
	size_t len_again;

	assert_int_equal(manifest_format(m, &text, &len), 0);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		text[bit / 8] ^= (char)(1 << bit % 8);
		if (manifest_parse(text, len, &back, NULL) == 0) {
			assert_int_equal(manifest_format(back, &again, &len_again), 0);
			text[bit / 8] ^= (char)(1 << bit % 8);
			assert_string_equal(text, again);
			free(again);
			manifest_free(back);
		} else {
			text[bit / 8] ^= (char)(1 << bit % 8);
		}
	}
	for (size_t cut = 0; cut + 1 < len; cut++)
		assert_int_equal(manifest_parse(text, cut, &back, NULL), -EUCLEAN);
	free(text);
	manifest_free(m);
}

static void newer_version(void **state)
{
	static const char text[] = "{\"format\": \"lazyclone manifest\", \"version\": 2}";
	struct manifest *m;
	struct err err;

	assert_int_equal(manifest_parse(text, strlen(text), &m, &err), -EUCLEAN);
	assert_non_null(strstr(err.message, "newer lazyclone"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(layers_and_snapshots),
		cmocka_unit_test(layers_refused),
		cmocka_unit_test(add_disk_limits),
		cmocka_unit_test(names),
		cmocka_unit_test(refused),
		cmocka_unit_test(same_log_refused),
		cmocka_unit_test(identity_limit),
		cmocka_unit_test(damaged_text),
		cmocka_unit_test(newer_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
