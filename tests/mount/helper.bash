#!/usr/bin/env bash
# helper.bash: what the tests on real mounts share; needs root.
#
#	setup() { mount_setup; }          $DIR with an empty $MNT; $STORE is not made yet
#	teardown() { mount_teardown; }    daemons ended, mounts gone, nothing left
#
#	clone make NAME IMAGE ...         tests/mount/mkclone on $STORE
#	serve [OPTION...]                 start the daemon, mounted when it returns
#	daemon_pid                        of the daemon serving $STORE
#	kill_daemon                       SIGKILL it, wait until it is gone
#	stop_daemon                       ask it to stop
#	status FILTER                     jq -r FILTER of its status
#	base_image FILE                   64 MiB: data, holes, zeros; the seed is printed

MOUNT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD_BIN=${BUILD_BIN:-$MOUNT_ROOT/build/plain}
# shellcheck source=tests/lib/wait.bash
. "$MOUNT_ROOT/tests/lib/wait.bash"

mount_setup() {
	DIR=$(mktemp -d /var/tmp/lazyclone-mount-XXXXXX)
	STORE=$DIR/store
	MNT=$DIR/mnt
	mkdir "$MNT"
	PIDS=()
}

mount_teardown() {
	local pid
	[ -n "${DIR:-}" ] || return 0
	for pid in "${PIDS[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
		wait_for gone "$pid"
	done
	while grep -q " $DIR/" /proc/mounts; do
		umount -l "$(awk -v d="$DIR/" 'index($2, d) == 1 {print $2; exit}' /proc/mounts)"
	done
	find "$DIR" -maxdepth 2 -type d -exec chattr -i {} + 2>/dev/null
	rm -rf "$DIR"
}

clone() {
	local verb=$1
	shift
	"$BUILD_BIN/tests/mount/mkclone" "$verb" "$STORE" "$@"
}

serve() {
	"$BUILD_BIN/lazyclonefs" "$STORE" "$MNT" "$@" || return
	PIDS+=("$(daemon_pid)")
}

status() { clone status | jq -r "$1"; }
daemon_pid() { status .pid; }

kill_daemon() {
	local pid
	pid=$(daemon_pid)
	kill -KILL "$pid"
	wait_for gone "$pid"
}

stop_daemon() {
	local pid
	pid=$(daemon_pid)
	clone stop
	wait_for gone "$pid"
}

# Bytes from a seed that is printed, so that a failure can be had again.
random_bytes() {
	local seed=${SEED:-$RANDOM$RANDOM}
	echo "# seed $seed" >&2
	"$BUILD_BIN/tests/mount/mkclone" bytes "$seed" "$1"
}

base_image() {
	truncate -s 64M "$1"
	random_bytes 6291456 | dd of="$1" conv=notrunc bs=64K status=none
	random_bytes 3145728 | dd of="$1" conv=notrunc bs=4K seek=5000 status=none
	dd if=/dev/zero of="$1" conv=notrunc bs=1M seek=40 count=2 status=none
	random_bytes 12345 | dd of="$1" conv=notrunc seek=$((50 * 1048576 + 777)) oflag=seek_bytes status=none
}
