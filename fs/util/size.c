/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes, durations and dates as people read them: see size.h. */
#include "fs/util/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

const char *size_format(uint64_t bytes, char text[static SIZE_TEXT])
{
	static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = bytes / 1024.0;
	unsigned int u = 0;

	if (bytes < 1024) {
		snprintf(text, SIZE_TEXT, "%" PRIu64 " B", bytes);
		return text;
	}
	/* 1023.95 would print as 1024.0. */
	for (; value >= 1023.95 && u < 5; u++)
		value /= 1024;
	snprintf(text, SIZE_TEXT, "%.1f %s", value, unit[u]);
	return text;
}

/* Shift of a unit, or -1. */
static int unit_shift(const char *text)
{
	static const char letters[] = "KMGT";
	const char *at = *text ? strchr(letters, toupper((unsigned char)*text)) : NULL;

	if (!*text || strcasecmp(text, "B") == 0)
		return 0;
	if (!at || (text[1] && strcasecmp(text + 1, "iB") != 0 && strcasecmp(text + 1, "B") != 0))
		return -1;
	return 10 * (int)(at - letters + 1);
}

int size_parse(const char *what, const char *text, uint64_t max, uint64_t *ret_bytes,
	struct err *err)
{
	long double value;
	char *end = NULL;
	int shift;

	/* Neither a sign nor what else strtold() knows: hexadecimal, infinity. */
	value = isdigit((unsigned char)text[0]) && !strpbrk(text, "xXeE") ? strtold(text, &end) : 0;
	shift = end ? unit_shift(end) : -1;
	if (shift < 0)
		return err_set(err, -EINVAL, "%s %s: not a size, as 512M or 10G", what, text);
	value *= (long double)(UINT64_C(1) << shift);
	if (value > (long double)max)
		return err_set(err, -EINVAL, "%s %s: more than %" PRIu64 " bytes", what, text, max);
	*ret_bytes = (uint64_t)value;
	return 0;
}

const char *duration_format(uint64_t ns, char text[static SIZE_TEXT])
{
	uint64_t sec = ns / 1000000000;

	if (ns < 1000000)
		snprintf(text, SIZE_TEXT, "%" PRIu64 " us", ns / 1000);
	else if (sec == 0)
		snprintf(text, SIZE_TEXT, "%.1f ms", ns / 1e6);
	else if (sec < 60)
		snprintf(text, SIZE_TEXT, "%.2f s", ns / 1e9);
	else
		snprintf(text, SIZE_TEXT, "%" PRIu64 " min %02" PRIu64 " s", sec / 60, sec % 60);
	return text;
}

const char *date_format(int64_t sec, char text[static SIZE_TEXT])
{
	time_t when = sec;
	struct tm local;

	if (!localtime_r(&when, &local) || !strftime(text, SIZE_TEXT, "%Y-%m-%d %H:%M:%S", &local))
		snprintf(text, SIZE_TEXT, "%" PRId64, sec);
	return text;
}
