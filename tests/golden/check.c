/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check DEFINED SOURCE REQUEST: does the definition hold what a golden request asked for? */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "tests/lib/golden.h"

static char *slurp(const char *path)
{
	char *text = NULL;
	size_t len;

	return io_slurp(&io_kernel, AT_FDCWD, path, XML_TEXT_MAX, &text, &len) < 0 ? NULL : text;
}

int main(int argc, char **argv)
{
	AUTO_FREE char *defined = argc == 4 ? slurp(argv[1]) : NULL;
	AUTO_FREE char *source = argc == 4 ? slurp(argv[2]) : NULL;
	AUTO_FREE char *lines = argc == 4 ? slurp(argv[3]) : NULL;
	struct xml_restore_request restore;
	struct golden golden;
	struct err err = {0};
	int rc;

	if (!defined || !source) {
		fprintf(stderr, "usage: check DEFINED SOURCE REQUEST\n");
		return EXIT_USAGE;
	}
	golden_request(source, lines, &golden);
	restore = (struct xml_restore_request){golden.request.n_disks, golden.disks};
	rc = golden.restore ? xml_check_restored(defined, &restore, &err)
			    : xml_check(defined, &golden.request, &err);
	if (rc < 0)
		err_print("check", &err);
	golden_clear(&golden);
	return rc < 0;
}
