/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Following an image's chain as far as it is allowed: see chain.h. */
#include "clone/plan/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clone/plan/place.h"
#include "fs/util/cleanup.h"
#include "fs/util/text.h"

struct chain {
	const struct chain_top *top;
	struct allowed *allowed;
	struct base_source *source; /* as far as it is followed */
};

/* ---- one file ---- */

static int no_file(const char *path, int rc, struct err *err)
{
	if (rc != -ENOENT)
		return err_sys(err, rc, "its image %s", path);
	err_set(err, -ESTALE, "its image %s is not there", path);
	err_hint(err, "put it back, or correct what names it (virsh edit, qemu-img rebase -u)");
	return -ESTALE;
}

/* A disk of a clone is shared as its layers (stacked.h); one that is read
 * through the mount as a base would hang on its own daemon. */
static int check_file(const char *path, struct err *err)
{
	struct stat st;

	if (path[0] != '/' || !text_is_plain(path))
		return err_set(err, -EOPNOTSUPP, "its image must be a printable absolute path");
	if (stat(path, &st) < 0)
		return no_file(path, -errno, err);
	if (!place_is_mount(st.st_dev))
		return 0;
	err_set(err, -EOPNOTSUPP, "its image %s is a lazyclone disk itself", path);
	err_hint(err, "clone its original, or hydrate this machine first: lazyclone hydrate");
	return -EOPNOTSUPP;
}

/* ---- what the domain says of image i ---- */

static const char *said_data(const struct chain *chain, uint32_t i)
{
	const struct xml_disk *disk = chain->top->disk;

	if (!disk)
		return NULL;
	return i == 0 ? disk->data : i <= disk->n_backings ? disk->backings[i - 1].data : NULL;
}

/* The image below image i; NULL: it leaves that to the image. */
static const struct xml_image *said_below(const struct chain *chain, uint32_t i)
{
	const struct xml_disk *disk = chain->top->disk;

	return disk && i < disk->n_backings ? &disk->backings[i] : NULL;
}

static bool said_last(const struct chain *chain, uint32_t i)
{
	const struct xml_disk *disk = chain->top->disk;

	return disk && disk->terminated && i == disk->n_backings;
}

static int contradiction(const char *image, const char *what, const char *wants, const char *said,
	struct err *err)
{
	err_set(err, -EOPNOTSUPP, "its image %s names %s as its %s, the domain %s", image,
		wants ?: "nothing", what, said ?: "nothing");
	err_hint(err, "correct the domain (virsh edit), or the image (qemu-img rebase -u)");
	return -EOPNOTSUPP;
}

/* ---- data files ---- */

static int take_data(struct chain *chain, uint32_t i, const struct base_wants *wants,
	struct err *err)
{
	struct base_image *image = &chain->source->images[i];
	const char *said = said_data(chain, i);
	int rc;

	if (said && !(wants->data_path && allowed_same(said, wants->data_path)))
		return contradiction(image->path, "data file", wants->data_path, said, err);
	if (!wants->data_path)
		return 0;
	if (!said && !allowed_find(chain->allowed, wants->data_path, true)) {
		err_set(err, -EOPNOTSUPP, "its image %s names the data file %s, which neither the "
			"domain nor you named", image->path, wants->data_path);
		err_hint(err, "if it is the right one: --data-file %s", wants->data_path);
		return -EOPNOTSUPP;
	}
	rc = check_file(wants->data_path, err);
	if (rc < 0)
		return rc;
	image->data_path = strdup(wants->data_path);
	return image->data_path ? 0 : err_sys(err, -ENOMEM, "its image %s", image->path);
}

/* ---- images below ---- */

/* Does libvirt know the image as a volume that has that file below it? 1 yes. */
static int volume_names(struct virt *virt, const char *image, const char *below, struct err *err)
{
	AUTO_FREE char *xml = NULL;
	AUTO_FREE char *path = NULL;
	int rc = virt ? virt_volume_at(virt, image, &xml, err) : 0;

	if (rc > 0)
		rc = xml_volume_backing(xml, &path, err);
	return rc > 0 ? allowed_same(path, below) : rc;
}

static int not_allowed(const char *image, const struct base_wants *wants, struct err *err)
{
	const char *format = wants->backing_format;

	err_set(err, -EOPNOTSUPP, "its image %s names %s as the image below it, which neither the "
		"domain nor you named", image, wants->backing_path);
	err_hint(err, "if it is the right one: --backing %s%s", wants->backing_path,
		format ? "" : ":FORMAT");
	return -EOPNOTSUPP;
}

static int no_format(const char *path, const char *format, struct err *err)
{
	if (!format) {
		err_set(err, -EOPNOTSUPP, "nothing says which format its image %s has", path);
		err_hint(err, "say it: --backing %s:raw, or %s:qcow2", path, path);
		return -EOPNOTSUPP;
	}
	err_set(err, -EOPNOTSUPP, "its image %s is neither raw nor qcow2 (%s)", path, format);
	err_hint(err, "copy the whole disk into a raw image file (qemu-img convert -O raw) and use "
		"that");
	return -EOPNOTSUPP;
}

/* Who allows it, and with which format? */
static int allow_below(struct chain *chain, uint32_t i, const struct base_wants *wants,
	const char **ret_format, struct err *err)
{
	const char *image = chain->source->images[i].path;
	const struct xml_image *said = said_below(chain, i);
	const struct allowed_file *user = allowed_find(chain->allowed, wants->backing_path, false);
	int rc = 1;

	if (said_last(chain, i) || (said && !allowed_same(said->path, wants->backing_path)))
		return contradiction(image, "backing image", wants->backing_path,
			said ? said->path : NULL, err);
	if (!said && !user)
		rc = volume_names(chain->top->virt, image, wants->backing_path, err);
	if (rc <= 0)
		return rc < 0 ? rc : not_allowed(image, wants, err);
	*ret_format = user && user->format ? user->format
		      : said && said->format ? said->format : wants->backing_format;
	if (*ret_format && (strcmp(*ret_format, "raw") == 0 || strcmp(*ret_format, "qcow2") == 0))
		return 0;
	return no_format(wants->backing_path, *ret_format, err);
}

/* An image that is below itself has no end. */
static int check_new(const struct chain *chain, const char *path, struct err *err)
{
	const struct base_source *source = chain->source;

	for (uint32_t i = 0; i < source->n_images; i++)
		if (allowed_same(source->images[i].path, path))
			return err_set(err, -EOPNOTSUPP, "its image %s is below itself", path);
	if (source->n_images < BASE_IMAGES_MAX)
		return 0;
	err_set(err, -EOPNOTSUPP, "its chain has more than %d images", BASE_IMAGES_MAX);
	err_hint(err, "make it shorter: qemu-img rebase, or qemu-img convert");
	return -EOPNOTSUPP;
}

static int add_image(struct chain *chain, const char *path, const char *format, struct err *err)
{
	struct base_image *image;
	int rc = check_new(chain, path, err);

	if (rc == 0)
		rc = check_file(path, err);
	if (rc < 0)
		return rc;
	image = &chain->source->images[chain->source->n_images++];
	image->path = strdup(path);
	image->format = strdup(format);
	return image->path && image->format ? 0 : err_sys(err, -ENOMEM, "its image %s", path);
}

static int take_below(struct chain *chain, uint32_t i, const struct base_wants *wants,
	struct err *err)
{
	const struct xml_image *said = said_below(chain, i);
	const char *format;
	int rc;

	if (!wants->backing_path)
		return said ? contradiction(chain->source->images[i].path, "backing image", NULL,
				      said->path, err)
			    : 0;
	rc = allow_below(chain, i, wants, &format, err);
	return rc < 0 ? rc : add_image(chain, wants->backing_path, format, err);
}

/* ---- all of it ---- */

/* A raw image names nothing, whatever its bytes say. */
static int follow(struct chain *chain, uint32_t i, struct err *err)
{
	const struct base_image *image = &chain->source->images[i];
	struct base_wants wants = {.backing_path = NULL};
	int rc = 0;

	if (strcmp(image->format, "raw") != 0)
		rc = base_wants(image->path, image->format, &wants, err);
	if (rc < 0)
		return rc;
	rc = take_data(chain, i, &wants, err);
	if (rc == 0)
		rc = take_below(chain, i, &wants, err);
	base_wants_clear(&wants);
	return rc;
}

static struct base_source *new_source(const char *snapshot)
{
	struct base_source *source = calloc(1, sizeof(*source));

	if (source)
		source->images = calloc(BASE_IMAGES_MAX, sizeof(*source->images));
	if (source && snapshot)
		source->snapshot = strdup(snapshot);
	if (source && source->images && (source->snapshot || !snapshot))
		return source;
	base_source_free(source);
	return NULL;
}

int chain_find(const struct chain_top *top, struct allowed *allowed,
	struct base_source **ret_source, struct err *err)
{
	struct chain chain = {
		.top = top, .allowed = allowed, .source = new_source(top->snapshot)};
	int rc;

	if (!chain.source)
		return err_sys(err, -ENOMEM, "its image %s", top->path);
	rc = add_image(&chain, top->path, top->format, err);
	for (uint32_t i = 0; rc == 0 && i < chain.source->n_images; i++)
		rc = follow(&chain, i, err);
	if (rc < 0)
		base_source_free(chain.source);
	else
		*ret_source = chain.source;
	return rc;
}

/* ---- telling of it ---- */

static json_t *image_object(const struct base_image *image)
{
	return json_pack("{s:s, s:s, s:s?}", "path", image->path, "format", image->format, "data",
		image->data_path);
}

json_t *chain_images(const char *path, const char *identity)
{
	struct base_source *source;
	json_t *images;

	if (base_identity_source(path, identity, &source, NULL) < 0)
		return json_null();
	images = json_array();
	for (uint32_t i = 0; i < source->n_images; i++)
		json_array_append_new(images, image_object(&source->images[i]));
	json_object_set_new(json_array_get(images, 0), "snapshot", json_string(source->snapshot));
	base_source_free(source);
	return images;
}
