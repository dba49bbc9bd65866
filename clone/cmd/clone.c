/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verb `clone`: make clones of a domain, or one disk of an image. */
#include "clone/plan/clone.h"
#include "clone/plan/freeze.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/quota.h"
#include "fs/util/size.h"

#define ARG(member) offsetof(struct args, member)

static const struct cli_option options[] = {
	{'o', "original", "SOURCE", "the domain to clone: name, UUID or id", ARG(original)},
	{'n', "name", "NAME", "name of the clone", ARG(name)},
	{'N', "count", "N", "make N clones, NAME1 to NAMEN", ARG(count)},
	{0, "all-or-none", NULL, "with --count: remove the others if one fails", ARG(all_or_none)},
	{0, "disk-only", "IMAGE", "a disk of this image, without a domain; prints its path",
		ARG(disk_only)},
	{0, "format", "FORMAT", "of IMAGE: raw or qcow2 (raw)", ARG(format)},
	{0, "image-snapshot", "SNAPSHOT", "of a qcow2 IMAGE: its internal snapshot, by id or name",
		ARG(image_snapshot)},
	{0, "backing", "FILE[:FORMAT]...", "a file that an image may have below it", ARG(backing)},
	{0, "data-file", "FILE...", "a file that an image may have its data in", ARG(data_file)},
	{0, "snapshot", "NAME", "of a clone: that snapshot of it, also while it runs", ARG(snapshot)},
	{0, "base", "HOW", "how the original is kept: auto, reflink, protect or freeze", ARG(base)},
	{0, "quota", "SIZE", "what each clone may take of the store, such as 10G", ARG(quota)},
	{0, "start", NULL, "start the clones", ARG(start)},
	{0, "dry-run", NULL, "say what would be made, make nothing", ARG(dry_run)},
	{0, "print-xml", NULL, "print the clone's domain XML, make nothing", ARG(print_xml)},
	{.name = NULL},
};

static int usage(const struct cmd *cmd, struct err *err, const char *text)
{
	return cmd_usage(cmd, err_set(err, -EINVAL, "%s", text), err);
}

/* Words and virt-clone's letters say the same: take each from where it stands. */
static int take_words(const struct cmd *cmd, struct clone_options *how, struct err *err)
{
	int next = 0;

	if (!how->source && !how->disk_only && next < cmd->n_words)
		how->source = cmd->words[next++];
	if (!how->name && next < cmd->n_words)
		how->name = cmd->words[next++];
	if (next < cmd->n_words)
		return cmd_usage(cmd, err_set(err, -EINVAL, "one argument too many: '%s'",
			cmd->words[next]), err);
	if (how->source && how->disk_only)
		return usage(cmd, err, "--original and --disk-only exclude each other");
	if (!how->source && !how->disk_only)
		return usage(cmd, err, "SOURCE is missing");
	if (how->disk_only && !how->name)
		return usage(cmd, err, "--disk-only needs a NAME");
	if (how->disk_only && (how->start || how->print_xml))
		return usage(cmd, err, "--disk-only makes no domain to start or to print");
	if (how->disk_only && how->snapshot)
		return usage(cmd, err, "--disk-only and --snapshot exclude each other");
	if (how->start && (how->dry_run || how->print_xml))
		return usage(cmd, err, "--start and making nothing exclude each other");
	return 0;
}

/* What only an image without a domain has to be told. */
static int check_image(const struct cmd *cmd, const struct clone_options *how, struct err *err)
{
	const char *format = how->format;

	if (!how->disk_only && (format || how->image_snapshot))
		return usage(cmd, err, "--format and --image-snapshot belong to --disk-only: a domain "
			"says which format its images have");
	if (format && strcmp(format, "raw") && strcmp(format, "qcow2"))
		return cmd_usage(cmd, err_set(err, -EINVAL,
			"--format %s: it can be raw or qcow2", format), err);
	if (how->image_snapshot && (!format || strcmp(format, "qcow2")))
		return usage(cmd, err, "--image-snapshot needs --format qcow2");
	return 0;
}

/* Frozen first (freeze_first), it is a source like a clone: no image of its own is
 * a base any more that could be kept in one way or the other. */
static bool wants_freeze(const struct cmd *cmd)
{
	return cmd->args.base && !strcmp(cmd->args.base, "freeze");
}

static int take_base(const char *text, enum origin_base *ret_base, struct err *err)
{
	static const char *const words[] = {
		[ORIGIN_AUTO] = "auto", [ORIGIN_REFLINK] = "reflink", [ORIGIN_PROTECT] = "protect"};

	if (!strcmp(text, "freeze")) {
		*ret_base = ORIGIN_PROTECT;
		return 0;
	}

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i]) != 0)
			continue;
		*ret_base = (enum origin_base)i;
		return 0;
	}
	return err_set(err, -EINVAL, "--base is auto, reflink, protect or freeze, not '%s'", text);
}

static int check_base(const struct cmd *cmd, const struct clone_options *how, struct err *err)
{
	if (wants_freeze(cmd) && how->disk_only)
		return usage(cmd, err, "--base freeze is of a domain, not of a disk alone");
	return 0;
}

static int take_options(const struct cmd *cmd, struct clone_options *how, struct err *err)
{
	const struct args *args = &cmd->args;
	uint64_t count = 1;
	int rc = 0;

	*how = (struct clone_options){
		.source = args->original,
		.disk_only = args->disk_only,
		.name = args->name,
		.snapshot = args->snapshot,
		.format = args->format,
		.image_snapshot = args->image_snapshot,
		.backings = args->backing.text,
		.n_backings = args->backing.count,
		.data_files = args->data_file.text,
		.n_data_files = args->data_file.count,
		.all_or_none = args->all_or_none,
		.start = args->start,
		.dry_run = args->dry_run,
		.print_xml = args->print_xml,
	};
	if (args->count)
		rc = cli_number("--count", args->count, 1, CLONE_COUNT_MAX, &count, err);
	if (!rc && args->quota)
		rc = quota_parse("--quota", args->quota, &how->quota_bytes, err);
	if (!rc && args->base)
		rc = take_base(args->base, &how->base, err);
	if (rc)
		return cmd_usage(cmd, rc, err);
	how->count = (uint32_t)count;
	rc = take_words(cmd, how, err);
	if (!rc)
		rc = check_base(cmd, how, err);
	return rc ? rc : check_image(cmd, how, err);
}

static json_t *disks_array(const struct clone_result *result)
{
	json_t *disks = json_array();

	for (uint32_t i = 0; i < result->n_disks; i++) {
		const struct clone_disk_result *disk = &result->disks[i];

		json_array_append_new(disks, json_pack("{s:o, s:o, s:o, s:o, s:b, s:O, s:I}",
			"target", output_text(disk->target), "path", output_text(disk->path),
			"original", output_text(disk->original), "base", output_text(disk->base),
			"reflinked", disk->copied, "images", disk->images, "size_bytes",
			(json_int_t)disk->size_bytes));
	}
	return disks;
}

static json_t *changes_array(char *const *changes)
{
	json_t *lines = json_array();

	for (; changes && *changes; changes++)
		json_array_append_new(lines, output_text(*changes));
	return lines;
}

static json_t *result_object(const struct cmd *cmd, const struct clone_result *result)
{
	json_t *object = json_pack("{s:o, s:o, s:b, s:b, s:o, s:I, s:I, s:o, s:o}", "name",
		output_text(result->name), "uuid", output_text(result->uuid), "made", result->made,
		"started", result->started, "disks", disks_array(result), "store_ns",
		(json_int_t)result->store_ns, "total_ns", (json_int_t)result->total_ns, "changes",
		changes_array(result->changes), "error", output_error_object(&result->err));

	if (object && cmd->args.print_xml)
		json_object_set_new(object, "xml", output_text(result->xml));
	return object;
}

static void print_json(const struct cmd *cmd, const struct clone_result *results, uint32_t count)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < count; i++)
		json_array_append_new(array, result_object(cmd, &results[i]));
	output_json(array);
}

static void print_disks(const struct clone_result *result)
{
	char size[SIZE_TEXT];

	for (uint32_t i = 0; i < result->n_disks; i++)
		printf("  %s  %s  %s  of %s%s\n", result->disks[i].target, result->disks[i].path,
			size_format(result->disks[i].size_bytes, size), result->disks[i].original,
			result->disks[i].copied ? ", reflinked" : "");
}

static void print_chains(const struct clone_result *result)
{
	for (uint32_t i = 0; i < result->n_disks; i++)
		cmd_print_chain(result->disks[i].target, result->disks[i].images);
}

static void print_plan(const struct clone_result *result)
{
	printf("%s: would be made\n", result->name);
	for (char *const *line = result->changes; line && *line; line++)
		printf("  %s\n", *line);
	if (!result->changes)
		print_disks(result);
	print_chains(result);
}

static void print_one(const struct cmd *cmd, const struct clone_result *result)
{
	char total[SIZE_TEXT], store[SIZE_TEXT];

	if (!result->made)
		return;
	printf("%s: cloned in %s (store part %s)%s\n", result->name,
		duration_format(result->total_ns, total), duration_format(result->store_ns, store),
		result->started ? ", started" : "");
	print_disks(result);
	for (char *const *line = result->changes; cmd->args.verbose && line && *line; line++)
		printf("  %s\n", *line);
	if (cmd->args.verbose)
		print_chains(result);
}

static const char *outcome(const struct clone_result *result)
{
	if (result->err.code)
		return result->made ? "not started" : "failed";
	return result->started ? "started" : "made";
}

static int print_table(const struct clone_result *results, uint32_t count)
{
	static const struct output_column columns[] = {
		{"NAME", false}, {"RESULT", false}, {"TIME", true}, {"WHY", false}, {NULL, false}};
	struct output_table *table = output_table_new(columns);
	int rc = table ? 0 : -ENOMEM;

	for (uint32_t i = 0; !rc && i < count; i++) {
		char time[SIZE_TEXT];
		const char *const cells[] = {results[i].name, outcome(&results[i]),
			results[i].made ? duration_format(results[i].total_ns, time) : NULL,
			results[i].err.code ? results[i].err.message : NULL};

		rc = output_table_line(table, cells);
	}
	if (!rc)
		return output_table_print(table);
	output_table_free(table);
	return rc;
}

static int print_results(const struct cmd *cmd, const struct clone_result *results, uint32_t count)
{
	if (cmd->args.json) {
		print_json(cmd, results, count);
	} else if (cmd->args.print_xml) {
		for (uint32_t i = 0; i < count; i++)
			fputs(results[i].xml ? results[i].xml : "", stdout);
	} else if (cmd->args.dry_run) {
		for (uint32_t i = 0; i < count; i++)
			print_plan(&results[i]);
	} else if (cmd->args.disk_only && count == 1) {
		puts(results[0].n_disks ? results[0].disks[0].path : "");
	} else if (count == 1) {
		print_one(cmd, &results[0]);
	} else {
		return print_table(results, count);
	}
	return 0;
}

/* A transaction of its own, and whole: it stays, whatever becomes of the clones. */
static int freeze_first(struct session *session, struct clone_options *how, struct err *err)
{
	const struct freeze_options freeze = {
		.backings = how->backings,
		.n_backings = how->n_backings,
		.data_files = how->data_files,
		.n_data_files = how->n_data_files,
		.once = true,
	};
	json_t *frozen = NULL;
	int rc;

	if (how->dry_run || how->print_xml)
		return 0;
	rc = freeze_domain(session, how->source, &freeze, &frozen, err);
	if (frozen)
		session_notice(session, "%s is frozen: it runs on a delta of its own from now on, "
			"until lazyclone base thaw %s", member_text(frozen, "name", "?"),
			member_text(frozen, "name", "?"));
	json_decref(frozen);
	/* Used, and of no use to the machine as it is now. */
	how->n_backings = how->n_data_files = 0;
	return rc;
}

static int run_clone(struct cmd *cmd, struct err *err)
{
	struct clone_options how;
	struct clone_result *results = NULL;
	struct session *session;
	uint32_t count = 0;
	int rc;
	int printed;

	rc = take_options(cmd, &how, err);
	if (!rc)
		rc = cmd_session(cmd, &session, err);
	if (!rc && !how.dry_run && !how.print_xml)
		rc = session_recover(session, err);
	if (!rc && wants_freeze(cmd))
		rc = freeze_first(session, &how, err);
	if (rc)
		return rc;
	rc = clone_make(session, &how, &results, &count, err);
	if (rc && rc != -EREMOTEIO)
		return rc;
	printed = print_results(cmd, results, count);
	clone_results_free(results, count);
	return rc ? rc : printed ? err_sys(err, printed, "printing the result") : 0;
}

const struct verb verb_clone = {
	.name = "clone",
	.summary = "clone a shut-off domain, a snapshot of a clone, or one disk image",
	.usage = (const char *const[]){
		"[OPTION...] SOURCE [NAME]", "[OPTION...] --disk-only IMAGE NAME", NULL},
	.detail = (const char *const[]){
		"Without NAME the clone is called SOURCE-clone1 (the first free number). A clone",
		"is whole or not there at all; with --count the whole ones stay and the exit",
		"status is 8 if some failed. The original must be shut off. Where its images can be",
		"reflinked into the store (the same XFS or btrfs) it goes on untouched; elsewhere, or",
		"with --base protect, it cannot be started as long as a clone needs them; with --base",
		"freeze it moves on to a delta of its own first (base freeze), and can. A clone can",
		"be cloned in its turn: shut off, as it is; or, also while it runs, a snapshot of it.",
		"It goes on as before and can be started, changed, reset and removed.",
		"Images are raw or qcow2, in files, on block devices or in storage pools. A file that an",
		"image names is used only if the domain, libvirt's volume of the image, --backing or",
		"--data-file names it too.",
		NULL},
	.options = options,
	.max_words = 2,
	.run = run_clone,
};
