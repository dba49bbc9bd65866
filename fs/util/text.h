/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is this byte string text? Names and paths come from users, files and guests. */
#ifndef FS_UTIL_TEXT_H
#define FS_UTIL_TEXT_H

#include <stdbool.h>

/* Well-formed UTF-8: no overlong forms, surrogates or code points beyond U+10FFFF. */
bool text_is_utf8(const char *text);

/* UTF-8 without control characters (C0, DEL, C1): fit for one line of a report. */
bool text_is_plain(const char *text);

#endif
