/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lazyclone: instant, thin, crash-safe clones of libvirt virtual machines. */
#include <locale.h>

#include "clone/cmd/cmd.h"

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, ""); /* tables measure names in characters */
	return cmd_run(argc, argv);
}
