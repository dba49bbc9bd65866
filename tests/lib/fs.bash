#!/usr/bin/env bash
# fs.bash: making file systems for tests; sourced, after wait.bash.
#
#	make_fs TYPE FILE [OPTION...]   FILE: an image or a device

make_fs() {
	case $1 in
	ext4) mkfs.ext4 -q "${@:3}" "$2" ;;
	xfs) mkfs.xfs -q "${@:3}" "$2" ;;
	# It looks at all mounted loops, also at one that another test is just taking away.
	btrfs) wait_for mkfs.btrfs -q "${@:3}" "$2" >/dev/null ;;
	esac
}
