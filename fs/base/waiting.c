/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counting the reads of each device: see waiting.h. */
#include "fs/base/waiting.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/round.h"

#define SLOTS 64

static struct {
	pthread_mutex_t lock;
	unsigned int used; /* under lock */
	struct {
		_Alignas(64) struct waiting waiting; /* a cache line each */
		dev_t number;
	} slots[SLOTS];
} devices = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Tags of the device, or of the disk that a partition is part of; 0: not told. */
static uint32_t tags_of(dev_t number)
{
	static const char *const places[] = {"queue", "../queue"};
	char path[64];
	uint32_t tags = 0;

	for (size_t i = 0; tags == 0 && i < sizeof(places) / sizeof(places[0]); i++) {
		FILE *file;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/nr_requests", major(number),
			minor(number), places[i]);
		file = fopen(path, "re");
		if (file && fscanf(file, "%u", &tags) != 1)
			tags = 0;
		if (file)
			fclose(file);
	}
	return tags;
}

/* A device made of others (device mapper, md) is as slow as the smallest of
 * them: no number of its own is believed. */
static bool is_stacked(dev_t number)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/dm", major(number), minor(number));
	if (access(path, F_OK) == 0)
		return true;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/md", major(number), minor(number));
	return access(path, F_OK) == 0;
}

struct waiting *waiting_of(dev_t number)
{
	struct waiting *waiting;
	uint32_t tags;

	SCOPED_LOCK(&devices.lock);
	for (unsigned int i = 0; i < devices.used; i++) {
		if (devices.slots[i].number == number)
			return &devices.slots[i].waiting;
	}
	if (devices.used == SLOTS)
		return &devices.slots[(major(number) * 7 + minor(number)) % SLOTS].waiting;
	tags = is_stacked(number) ? 0 : tags_of(number);
	devices.slots[devices.used].number = number;
	waiting = &devices.slots[devices.used++].waiting;
	waiting->reads_max = (uint32_t)max_u64(WAITING_READS_MIN, tags / 4);
	waiting->missed_max = (uint32_t)max_u64(WAITING_MISSED_MIN, tags / 8);
	return waiting;
}

void waiting_miss(struct waiting *waiting)
{
	atomic_fetch_add_explicit(&waiting->missed, 1, memory_order_relaxed);
}

/* Most reads that begin were tried before: each makes good for one miss. Those
 * that were not make the count too low, never too high for long. */
void waiting_begin(struct waiting *waiting)
{
	uint32_t missed = atomic_load_explicit(&waiting->missed, memory_order_relaxed);

	atomic_fetch_add_explicit(&waiting->reads, 1, memory_order_relaxed);
	while (missed > 0 && !atomic_compare_exchange_weak_explicit(&waiting->missed, &missed,
				     missed - 1, memory_order_relaxed, memory_order_relaxed))
		;
}

void waiting_end(struct waiting *waiting)
{
	atomic_fetch_sub_explicit(&waiting->reads, 1, memory_order_relaxed);
}
