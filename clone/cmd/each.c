/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One action on several names: go on after a failure, and say at the end how it went. */
#include <errno.h>

#include "clone/cmd/output.h"
#include "clone/cmd/verb.h"
#include "clone/plan/interrupt.h"

struct tally {
	int done;
	int failed;
	struct err first;
};

static void note_failure(const struct cmd *cmd, struct tally *tally, const struct err *err)
{
	if (!tally->failed++)
		tally->first = *err;
	/* A single name's error is printed by cmd_run; of JSON it is in the document. */
	if (cmd->n_words > 1 && !cmd->args.json)
		output_error(err, false);
}

static json_t *result_of(const char *name, json_t *result, const struct err *err)
{
	if (!result)
		result = json_object();
	json_object_set_new(result, "name", output_text(name));
	json_object_set_new(result, "error", output_error_object(err));
	return result;
}

static int verdict(const struct cmd *cmd, const struct tally *tally, struct err *err)
{
	if (!tally->failed)
		return 0;
	*err = tally->first;
	if (cmd->n_words == 1)
		return err->code;
	return err_set(err, tally->done ? -EREMOTEIO : err->code, "%s: %d of %d failed",
		cmd->verb->name, tally->failed, cmd->n_words);
}

int cmd_each(struct cmd *cmd,
	int (*each)(struct cmd *cmd, const char *name, json_t **ret_result, struct err *err),
	struct err *err)
{
	struct tally tally = {.done = 0};
	json_t *results = json_array();

	for (int i = 0; i < cmd->n_words; i++) {
		struct err one = {.code = 0};
		json_t *result = NULL;

		/* Who interrupts means all of them: a second action would begin afresh. */
		if (interrupt_pending())
			err_set(&one, -EINTR, "%s: not tried: interrupted", cmd->words[i]);
		if (one.code || each(cmd, cmd->words[i], &result, &one))
			note_failure(cmd, &tally, &one);
		else
			tally.done++;
		json_array_append_new(results, result_of(cmd->words[i], result, &one));
	}
	if (cmd->args.json)
		output_json(results);
	else
		json_decref(results);
	return verdict(cmd, &tally, err);
}
