/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A daemon's steps on a clone of two disks with layers, and the history that they make.
 *
 * Each step is a phase: what one block of each disk reads as, and how many
 * layers they have, with the marks of the record between which it came to be.
 */
#ifndef TESTS_LIB_DUO_H
#define TESTS_LIB_DUO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/store/store.h"
#include "fs/util/io.h"
#include "tests/lib/recorder.h"

#define DUO_DISKS 2
#define DUO_DISK_BYTES (1u << 20)
#define DUO_BLOCK 5 /* the one that is written */
#define DUO_PHASES_MAX 32
#define DUO_LAYERS_MAX 4

/* What the clone called "web" is after a step. */
struct duo_phase {
	size_t begun, ended; /* marks of the record; ended SIZE_MAX: never acknowledged */
	bool there;
	uint32_t layers;
	uint8_t value[DUO_DISKS]; /* of DUO_BLOCK; 0: nobody owns it */
};

struct duo_history {
	struct duo_phase phase[DUO_PHASES_MAX];
	int n_phases;
	size_t first_prefix;
	/* The clone on its layers: reads as 1 all its life. */
	size_t child_begun, child_ended, child_gone_begun, child_gone_ended;
	bool second, quiet;
};

/* A store that a daemon has, and the clone it works on. */
struct duo {
	const struct io_gate *io;
	struct recorder *rec;
	struct duo_history *h;
	struct store *store;
	struct manifest *m; /* of "web"; NULL: it is not there */
	struct delta *loose; /* open and not flushed, or NULL */
};

struct duo_phase *duo_now(struct duo_history *h);
/* A copy of the phase before it, to be changed. */
struct duo_phase *duo_begin_phase(struct duo *duo);
int duo_end_phase(struct duo *duo, int rc); /* returns rc; 0: it was acknowledged */

/* A manifest of two disks on the layers of from, if there is one. */
struct manifest *duo_new_manifest(const char *name, const struct manifest *from);
int duo_make_clone(struct duo *duo, const struct manifest *m, struct err *err);

/* As a daemon that starts, and that is killed. */
int duo_start(struct duo *duo, const char *root, struct err *err);
void duo_end(struct duo *duo);

/* Write to one disk, then to the other, each flushed: two phases. */
int duo_write(struct duo *duo, uint8_t value, struct err *err);
int duo_freeze(struct duo *duo, const char *name, struct err *err);
/* Write to the first disk and do not flush; its delta stays open until duo_reset()
 * throws it away, or duo_end(). */
int duo_write_loose(struct duo *duo, uint8_t value, struct err *err);
/* To what has so many layers and reads as value. */
int duo_reset(struct duo *duo, const char *to, uint32_t layers, uint8_t value, struct err *err);
int duo_forget(struct duo *duo, struct err *err); /* its first snapshot */
int duo_remove(struct duo *duo, struct err *err);

/* What DUO_BLOCK of a disk reads as; 0: nobody owns it, 255: a mixture. Opening
 * may write: through the gate. */
int duo_read(struct duo *duo, const struct manifest *m, int i, uint8_t *ret_value,
	struct err *err);

#endif
