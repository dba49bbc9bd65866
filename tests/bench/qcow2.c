/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads of a cached qcow2 image beside reads of the same bytes as a raw file.
 *
 * The same content is made as raw, qcow2, and compressed with zlib and zstd,
 * and read at random and in order, by one thread and by two, everything in the
 * page cache: what is measured is the way through the tables and the unpacking.
 * One line per figure; time of the processor too, which another load on the
 * machine does not change.
 *
 *	qcow2 DIR [MIB [MS]]
 *
 * MIB (512) of content, half of each 4 KiB noise; MS (1000) for each figure.
 * DIR gets a directory of its own, which is removed at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/qcow2.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"
#include "fs/util/io.h"
#include "fs/util/round.h"
#include "tests/lib/cowread.h"
#include "tests/lib/rng.h"

#define BLOCK 4096u
#define LONG (1u << 20)
#define THREADS_MAX 2

struct opened {
	int fd;
	struct bytes bytes;
	struct qcow2 *qcow2; /* NULL: raw */
};

struct worker {
	pthread_t thread;
	struct opened *image;
	uint64_t size_bytes, until_ns, rng, next_off;
	size_t len; /* of one read */
	bool in_order;
	uint64_t reads, cpu_ns;
	int error;
};

static int file_read(void *of, void *buf, size_t len, uint64_t off, bool nowait)
{
	const struct opened *image = of;
	int rc = io_read_full(&io_kernel, image->fd, buf, len, off);

	/* Only the end of a packed cluster's last sector is behind the end. */
	return rc == -ENODATA ? 0 : rc;
}

static bool no_hole(void *of, uint64_t off, uint64_t len, uint64_t *ret_run)
{
	*ret_run = len;
	return false;
}

static void open_image(struct opened *image, const char *path, bool raw)
{
	struct err err = {0};

	*image = (struct opened){.fd = open(path, O_RDONLY | O_CLOEXEC)};
	if (image->fd < 0) {
		perror(path);
		exit(1);
	}
	image->bytes = (struct bytes){
		image, (uint64_t)lseek(image->fd, 0, SEEK_END), file_read, no_hole};
	if (!raw && qcow2_open(&image->bytes, path, NULL, &image->qcow2, &err) < 0) {
		err_print("qcow2", &err);
		exit(1);
	}
}

static int read_one(struct worker *w, void *buf, uint64_t off)
{
	struct cowread read = {.qcow2 = w->image->qcow2, .data = &w->image->bytes};

	if (!w->image->qcow2)
		return file_read(w->image, buf, w->len, off, false);
	return cowread(&read, buf, w->len, off);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	AUTO_FREE void *buf = malloc(w->len);
	struct timespec cpu;

	while (w->error == 0 && clock_now_ns() < w->until_ns) {
		uint64_t off = w->next_off;

		if (!w->in_order)
			off = rng_below(&w->rng, w->size_bytes / w->len) * w->len;
		w->next_off = (off + w->len) % w->size_bytes;
		w->error = buf ? read_one(w, buf, off) : -ENOMEM;
		w->reads++;
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	w->cpu_ns = (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec;
	return NULL;
}

static void measure(const char *name, struct opened *image, uint64_t size_bytes, size_t len,
	bool in_order, int threads, uint64_t ms)
{
	struct worker workers[THREADS_MAX];
	uint64_t reads = 0;
	uint64_t cpu_ns = 0;
	char what[64];

	for (int i = 0; i < threads; i++) {
		workers[i] = (struct worker){.image = image, .size_bytes = size_bytes,
			.until_ns = clock_now_ns() + ms * 1000000, .rng = (uint64_t)i, .len = len,
			.next_off = (uint64_t)i * round_down(size_bytes / 2, len),
			.in_order = in_order};
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			exit(1);
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		reads += workers[i].reads;
		cpu_ns += workers[i].cpu_ns;
		if (workers[i].error) {
			fprintf(stderr, "qcow2: %s\n", strerror(-workers[i].error));
			exit(1);
		}
	}
	snprintf(what, sizeof(what), "%s image, %zu KiB %s, %d thread%s", name, len >> 10,
		in_order ? "in order" : "at random", threads, threads > 1 ? "s" : "");
	printf("%-58s %10.0f reads/s (%.2f us of processor time each)\n", what,
		(double)reads * 1000 / (double)ms, (double)cpu_ns / 1000 / (double)reads);
}

static void report(const char *name, struct opened *image, uint64_t size_bytes, uint64_t ms)
{
	for (int threads = 1; threads <= THREADS_MAX; threads++)
		measure(name, image, size_bytes, BLOCK, false, threads, ms);
	measure(name, image, size_bytes, BLOCK, true, 1, ms);
	measure(name, image, size_bytes, LONG, true, 1, ms);
}

static void make_raw(const char *path, uint64_t mib)
{
	AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	AUTO_FREE uint64_t *buf = calloc(1, LONG);
	uint64_t rng = 1;

	if (fd < 0 || !buf) {
		perror(path);
		exit(1);
	}
	for (uint64_t i = 0; i < mib; i++) {
		for (size_t at = 0; at < LONG / 8; at++)
			buf[at] = at % (BLOCK / 8) < BLOCK / 16 ? rng_next(&rng) : at / 64;
		if (io_write_full(&io_kernel, fd, buf, LONG, i * LONG) < 0) {
			perror(path);
			exit(1);
		}
	}
}

static void make(const char *dir, uint64_t mib)
{
	char command[4096];

	snprintf(command, sizeof(command), "%s/raw", dir);
	make_raw(command, mib);
	snprintf(command, sizeof(command),
		"cd %s && qemu-img convert -f raw -O qcow2 raw qcow2 && "
		"qemu-img convert -f raw -O qcow2 -c raw zlib && "
		"qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd raw zstd",
		dir);
	if (system(command) != 0)
		exit(1);
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"raw", "qcow2", "zlib", "zstd"};
	uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : 512;
	uint64_t ms = argc > 3 ? strtoull(argv[3], NULL, 10) : 1000;
	char dir[1024], command[1100];

	if (argc < 2 || mib == 0 || ms == 0) {
		fprintf(stderr, "usage: qcow2 DIR [MIB [MS]]\n");
		return 2;
	}
	snprintf(dir, sizeof(dir), "%s/qcow2-XXXXXX", argv[1]);
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	make(dir, mib);
	for (int i = 0; i < 4; i++) {
		struct opened image;

		snprintf(command, sizeof(command), "%s/%s", dir, names[i]);
		open_image(&image, command, i == 0);
		report(names[i], &image, mib << 20, ms);
		qcow2_close(image.qcow2);
		close(image.fd);
	}
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) != 0;
}
