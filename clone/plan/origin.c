/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may be cloned, and what of it gets a delta: see origin.h. */
#include "clone/plan/origin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clone/plan/chain.h"
#include "clone/plan/device.h"
#include "clone/plan/reflink.h"
#include "clone/plan/stacked.h"
#include "fs/base/base.h"
#include "fs/util/cleanup.h"

#define HINT_CONVERT "copy it into a raw image file (qemu-img convert -O raw) and use that"

void origin_free(struct origin *origin)
{
	if (!origin)
		return;
	for (uint32_t i = 0; origin->disks && i < origin->n_disks; i++) {
		free(origin->disks[i].target);
		free(origin->disks[i].path);
		free(origin->disks[i].format);
		base_source_free(origin->disks[i].base);
		free(origin->disks[i].driver);
		free(origin->disks[i].identity);
		free(origin->disks[i].source);
		free(origin->disks[i].shown);
		free(origin->disks[i].layers);
	}
	free(origin->disks);
	xml_domain_free(origin->scanned);
	virt_domain_clear(&origin->domain);
	stacked_free(origin->stacked);
	reflink_free(origin->reflink);
	free(origin);
}

static int check_saved_state(struct virt *virt, const struct virt_domain *domain, struct err *err)
{
	const char *what = NULL;
	int rc = virt_busy(virt, domain->uuid, &what, err);

	if (rc < 0)
		return rc;
	if (domain->managed_save) {
		err_set(err, -EOPNOTSUPP, "domain %s: it has a saved memory image, which belongs to "
			"its disks as they are now", domain->name);
		err_hint(err, "start it and shut it down, or: virsh managedsave-remove %s",
			domain->name);
		return -EOPNOTSUPP;
	}
	if (rc > 0) {
		err_set(err, -EOPNOTSUPP, "domain %s: it has %s, which a clone cannot take along",
			domain->name, what);
		err_hint(err, "delete them, or merge them into the disk, with virsh first");
		return -EOPNOTSUPP;
	}
	return 0;
}

static int check_state(struct virt *virt, const struct virt_domain *domain, bool is_clone,
	struct err *err)
{
	if (domain->active) {
		err_set(err, -EBUSY, "domain %s is running: its disks change while they would be read",
			domain->name);
		err_hint(err, "shut it down first: virsh shutdown %s%s", domain->name, is_clone
			? " (or clone a snapshot of it: lazyclone snapshot, clone --snapshot)" : "");
		return -EBUSY;
	}
	return check_saved_state(virt, domain, err);
}

static int take_text(char **field, const char *text)
{
	if (!text)
		return 0;
	*field = strdup(text);
	return *field ? 0 : -ENOMEM;
}

/* QEMU's locks tell who has a file; who has a device, libvirt. */
static int check_devices(struct origin *origin, struct virt *virt,
	const struct base_source *source, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < source->n_images; i++) {
		const struct base_image *image = &source->images[i];
		const char *data = image->data_path;

		origin->on_device |= device_is(image->path) || (data && device_is(data));
		rc = virt ? device_check_idle(virt, image->path, err) : 0;
		if (rc == 0 && virt && data)
			rc = device_check_idle(virt, data, err);
	}
	return rc;
}

/* The disk whose image is that, with all that lies below. */
static int add_disk(struct origin *origin, const char *target, const char *driver,
	const struct chain_top *top, struct allowed *allowed, struct err *err)
{
	struct origin_disk *disk = &origin->disks[origin->n_disks++];
	int rc;

	if (take_text(&disk->target, target) < 0 || take_text(&disk->path, top->path) < 0 ||
		take_text(&disk->format, top->format) < 0 || take_text(&disk->driver, driver) < 0)
		return err_sys(err, -ENOMEM, "disk %s", target);
	rc = chain_find(top, allowed, &disk->base, err);
	if (rc == 0)
		rc = check_devices(origin, top->virt, disk->base, err);
	if (rc < 0)
		err_prefix(err, "disk %s", target);
	return rc;
}

static int add_image(struct origin *origin, struct virt *virt, const struct xml_disk *disk,
	struct allowed *allowed, struct err *err)
{
	AUTO_FREE char *volume = NULL;
	struct chain_top top = {.path = disk->source, .format = disk->format ?: "raw",
		.disk = disk, .virt = virt};
	int rc;

	if (disk->volume) {
		rc = virt_volume_path(virt, disk->pool, disk->volume, &volume, err);
		if (rc < 0) {
			err_prefix(err, "disk %s", disk->target);
			return rc;
		}
		top.path = volume;
	}
	return add_disk(origin, disk->target, disk->driver, &top, allowed, err);
}

static int take_disk(struct origin *origin, struct virt *virt, const struct xml_disk *disk,
	struct allowed *allowed, struct err *err)
{
	int rc = 0;

	if (origin->stacked)
		rc = stacked_take_disk(
			origin->stacked, disk, &origin->disks[origin->n_disks], err);
	if (rc == 0)
		return add_image(origin, virt, disk, allowed, err);
	origin->n_disks++;
	return rc < 0 ? rc : 0;
}

static int take_disks(struct origin *origin, struct virt *virt, struct allowed *allowed,
	struct err *err)
{
	const struct xml_domain *scanned = origin->scanned;
	int rc = 0;

	origin->disks = calloc((size_t)scanned->n_disks + 1, sizeof(*origin->disks));
	if (!origin->disks)
		return err_sys(err, -ENOMEM, "domain %s", origin->domain.name);
	for (uint32_t i = 0; rc == 0 && i < scanned->n_disks; i++) {
		const struct xml_disk *disk = &scanned->disks[i];

		if (disk->cloned)
			rc = take_disk(origin, virt, disk, allowed, err);
	}
	if (rc == 0 && origin->n_disks == 0) {
		rc = err_set(err, -EOPNOTSUPP, "it has no disk to clone");
		err_hint(err, "without disks, virt-clone does the same");
	}
	if (rc < 0)
		err_prefix(err, "domain %s", origin->domain.name);
	return rc;
}

/* An ordinary user's mount cannot be reached by QEMU's own user. */
static int check_reach(const struct virt *virt, const struct origin *origin, struct err *err)
{
	if (virt_is_session(virt) || geteuid() == 0 || origin->uid == geteuid())
		return 0;
	err_set(err, -EACCES, "cloning at %s needs root: QEMU runs there as another user than you",
		virt_uri(virt));
	err_hint(err, "run it as root, or clone your own machines: lazyclone -c qemu:///session ...");
	return -EACCES;
}

static int describe_domain(struct origin *origin, struct session *session, struct virt *virt,
	const struct origin_use *use, struct err *err)
{
	int rc = stacked_find(session, &origin->domain, use->snapshot, !use->look,
		&origin->stacked, err);

	/* Of a snapshot, what the machine does now is no matter. */
	if (rc == 0 && !use->snapshot)
		rc = check_state(virt, &origin->domain, origin->stacked, err);
	if (rc == 0)
		rc = virt_dac_owner(virt, &origin->dac_label, &origin->uid, &origin->gid, err);
	if (rc == 0)
		rc = check_reach(virt, origin, err);
	if (rc < 0)
		return rc;
	rc = xml_scan(origin->domain.xml, &origin->scanned, err);
	if (rc < 0) {
		err_prefix(err, "domain %s", origin->domain.name);
		return rc;
	}
	return take_disks(origin, virt, use->allowed, err);
}

int origin_of_domain(struct session *session, struct virt *virt, const char *name,
	const struct origin_use *use, struct origin **ret_origin, struct err *err)
{
	struct origin *origin = calloc(1, sizeof(*origin));
	int rc;

	if (!origin)
		return err_sys(err, -ENOMEM, "domain %s", name);
	rc = virt_lookup(virt, name, &origin->domain, err);
	if (rc == 0)
		rc = describe_domain(origin, session, virt, use, err);
	if (rc < 0) {
		origin_free(origin);
		return rc;
	}
	*ret_origin = origin;
	return 0;
}

/* Root makes it for QEMU's user, if libvirt is there to say who that is;
 * whoever uses the disk without libvirt is root then and can open it. */
static void choose_owner(struct session *session, struct origin *origin)
{
	struct virt *virt;

	origin->uid = geteuid();
	origin->gid = getegid();
	if (origin->uid == 0 && session_need_virt(session, &virt, NULL) == 0)
		virt_dac_owner(virt, &origin->dac_label, &origin->uid, &origin->gid, NULL);
}

/* An image without a domain has nobody but the user who says its format. Probing
 * is not choosing: what begins like a container is refused, never opened as one. */
static int check_raw(const char *path, struct err *err)
{
	static const struct {
		const char magic[9];
		const char *format, *hint;
	} formats[] = {
		{"QFI\xfb", "qcow2", "if it is one: --format qcow2; if a guest wrote that into a raw "
			"disk: --format raw"},
		{"KDMV", "vmdk", HINT_CONVERT},
		{"vhdxfile", "vhdx", HINT_CONVERT},
		{"conectix", "vpc", HINT_CONVERT},
		{"LUKS\xba\xbe", "luks", HINT_CONVERT}};
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char head[8] = {0};

	/* What cannot be read is refused in the words of the daemon that tries. */
	if (fd < 0 || pread(fd, head, sizeof(head), 0) < 0)
		return 0;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (memcmp(head, formats[i].magic, strlen(formats[i].magic)) != 0)
			continue;
		err_set(err, -EOPNOTSUPP, "image %s: begins like a %s image", path,
			formats[i].format);
		err_hint(err, "%s", formats[i].hint);
		return -EOPNOTSUPP;
	}
	return 0;
}

static int describe_image(struct origin *origin, struct session *session, const char *path,
	const struct origin_use *use, struct err *err)
{
	const struct chain_top top = {
		.path = path, .format = use->format ?: "raw", .snapshot = use->image_snapshot};
	int rc = 0;

	origin->disks = calloc(1, sizeof(*origin->disks));
	if (!origin->disks)
		return err_sys(err, -ENOMEM, "image %s", path);
	choose_owner(session, origin);
	if (!use->format)
		rc = check_raw(path, err);
	return rc < 0 ? rc
		      : add_disk(origin, ORIGIN_IMAGE_TARGET, NULL, &top, use->allowed, err);
}

int origin_of_image(struct session *session, const char *path, const struct origin_use *use,
	struct origin **ret_origin, struct err *err)
{
	AUTO_FREE char *full = realpath(path, NULL);
	struct origin *origin;
	int rc;

	if (!full)
		return err_sys(err, -errno, "image %s", path);
	origin = calloc(1, sizeof(*origin));
	if (!origin)
		return err_sys(err, -ENOMEM, "image %s", path);
	rc = describe_image(origin, session, full, use, err);
	if (rc < 0) {
		origin_free(origin);
		return rc;
	}
	*ret_origin = origin;
	return 0;
}

static int check_size(const struct origin_disk *disk, struct err *err)
{
	if (disk->size_bytes > 0)
		return 0;
	return err_set(err, -EOPNOTSUPP, "disk %s: its image %s is empty", disk->target, disk->path);
}

static int hold_new(struct origin_disk *disk, struct ctl *ctl, bool *ret_first, struct err *err)
{
	AUTO_FREE char *text = NULL;
	int rc = base_source_format(disk->base, &text);

	if (rc < 0)
		return err_sys(err, rc, "disk %s: the names of its images", disk->target);
	rc = ctl_hold(ctl, text, &disk->identity, &disk->size_bytes, ret_first, err);
	if (rc < 0)
		return rc;
	disk->base_limit_bytes = disk->size_bytes;
	return check_size(disk, err);
}

/* ---- copying ---- */

/* Is disk to be copied? 1 yes, 0 no; asked for where it cannot be: -EOPNOTSUPP. */
static int wants_copy(const struct origin_disk *disk, enum origin_base how, struct store *store,
	struct err *err)
{
	int rc;

	if (how == ORIGIN_PROTECT || disk->stacked)
		return 0;
	rc = reflink_can(store, disk->base, err);
	if (rc == 0)
		return 1;
	return how == ORIGIN_AUTO ? 0 : rc;
}

static int add_copy(struct origin *origin, struct origin_disk *disk, uint32_t *ret_number,
	struct err *err)
{
	int rc = reflink_add(origin->reflink, disk->base, ret_number, err);

	disk->copied = rc == 0;
	return rc;
}

static int take_copy(struct origin_disk *disk, struct reflink_copy copy, struct err *err)
{
	disk->source = disk->path;
	disk->path = strdup(copy.path);
	disk->identity = strdup(copy.identity);
	disk->size_bytes = disk->base_limit_bytes = copy.size_bytes;
	if (!disk->path || !disk->identity)
		return err_sys(err, -ENOMEM, "disk %s", disk->target);
	return check_size(disk, err);
}

/* Of all that are to be copied at one instant. number: room for one of each disk. */
static int copy_all(struct origin *origin, enum origin_base how, struct store *store,
	uint32_t *number, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < origin->n_disks; i++) {
		rc = wants_copy(&origin->disks[i], how, store, err);
		if (rc == 1)
			rc = add_copy(origin, &origin->disks[i], &number[i], err);
	}
	if (rc == 0)
		rc = reflink_run(origin->reflink, err);
	for (uint32_t i = 0; rc == 0 && i < origin->n_disks; i++)
		if (origin->disks[i].copied)
			rc = take_copy(&origin->disks[i],
				reflink_copy(origin->reflink, number[i]), err);
	return rc;
}

static int copy_disks(struct origin *origin, enum origin_base how, struct store *store,
	struct err *err)
{
	AUTO_FREE uint32_t *number = calloc((size_t)origin->n_disks + 1, sizeof(*number));
	int rc = number ? reflink_new(store, &origin->reflink) : -ENOMEM;

	return rc < 0 ? err_sys(err, rc, "cannot copy the original")
		      : copy_all(origin, how, store, number, err);
}

/* ---- holding ---- */

static int hold_disk(struct origin *origin, struct origin_disk *disk, struct ctl *ctl,
	struct err *err)
{
	bool first = false;
	int rc = disk->stacked || disk->copied
		? ctl_hold_known(ctl, disk->path, disk->identity, &first, err)
		: hold_new(disk, ctl, &first, err);

	origin->newly_held |= first && !disk->copied && !disk->stacked;
	return rc;
}

int origin_hold(struct origin *origin, enum origin_base how, struct store *store,
	struct ctl *ctl, const char *mountpoint, struct err *err)
{
	int rc = copy_disks(origin, how, store, err);

	for (uint32_t i = 0; rc == 0 && i < origin->n_disks; i++)
		rc = hold_disk(origin, &origin->disks[i], ctl, err);
	if (rc == 0 && origin->stacked)
		rc = stacked_share(origin->stacked, origin, ctl, mountpoint, err);
	return rc;
}

static int look_at_disk(struct origin_disk *disk, struct err *err)
{
	int rc = base_identify(disk->base, &disk->identity, &disk->size_bytes, err);

	disk->base_limit_bytes = disk->size_bytes;
	return rc == 0 ? check_size(disk, err) : rc;
}

/* What is going to be copied still has its own name: nothing is made. */
int origin_look(struct origin *origin, enum origin_base how, struct store *store,
	struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < origin->n_disks; i++) {
		struct origin_disk *disk = &origin->disks[i];

		if (store)
			rc = wants_copy(disk, how, store, err);
		disk->copied = rc == 1;
		if (rc >= 0)
			rc = disk->stacked ? 0 : look_at_disk(disk, err);
	}
	return rc == 0 && origin->stacked ? stacked_look(origin->stacked, origin, err) : rc;
}
