/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* main of a fuzz target without a fuzzer: runs it on each file named, or on standard input. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_stream(FILE *in, const char *name)
{
	uint8_t *data = NULL;
	uint8_t *exact;
	size_t size = 0;
	size_t room = 0;
	size_t n;

	do {
		if (size == room) {
			room = room ? 2 * room : 65536;
			data = realloc(data, room);
			if (!data) {
				perror(name);
				exit(1);
			}
		}
		n = fread(data + size, 1, room - size, in);
		size += n;
	} while (n > 0);
	if (ferror(in)) {
		perror(name);
		free(data);
		return 1;
	}
	/* An exact copy, so that a sanitizer sees a read one byte beyond it. */
	exact = malloc(size ? size : 1);
	if (exact) {
		memcpy(exact, data, size);
		LLVMFuzzerTestOneInput(exact, size);
	}
	free(exact);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc < 2)
		return run_stream(stdin, "standard input");
	for (int i = 1; i < argc; i++) {
		FILE *in = fopen(argv[i], "rbe");

		if (!in) {
			perror(argv[i]);
			failed = 1;
			continue;
		}
		failed |= run_stream(in, argv[i]);
		fclose(in);
	}
	return failed;
}
