#!/usr/bin/env bash
# helper.bash: devices that are recorded, cut off or fail; needs root.
#
#	setup() { real_setup; }       $DIR on the test's file system, $RAM in memory
#	teardown() { real_teardown; } mounts, loops and processes of this test are gone
#
#	record_device SIZE            $DEVICE: all it is told is in $BLOCKLOG
#	failing_device SIZE           $DEVICE; device_breaks: every write to it fails from now
#	                              on; device_works again
#	end_device                    takes it off again; $BLOCKLOG stays
#	mount_on DEVICE DIR [OPTIONS]

REAL_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD_BIN=${BUILD_BIN:-$REAL_ROOT/build/plain}
# shellcheck disable=SC2034 # used by the tests
TINY=$BUILD_BIN/tiny/tests/real/tiny-device
# shellcheck disable=SC2034
REPLAY=$BUILD_BIN/tests/real/blocklog
# shellcheck source=tests/lib/wait.bash
. "$REAL_ROOT/tests/lib/wait.bash"
# shellcheck source=tests/lib/fs.bash
. "$REAL_ROOT/tests/lib/fs.bash"

real_setup() {
	DIR=$(mktemp -d /var/tmp/lazyclone-real-XXXXXX)
	RAM=$DIR/ram
	mkdir "$RAM"
	mount -t tmpfs -o size=2g tmpfs "$RAM"
	LOOPS=()
	QSD=
}

real_teardown() {
	local point loop
	[ -n "${DIR:-}" ] || return 0
	for point in mnt live state; do umount -l "$DIR/$point" 2>/dev/null || true; done
	chattr -i "$DIR/mnt" 2>/dev/null || true
	for loop in "${LOOPS[@]}"; do losetup -d "$loop" 2>/dev/null || true; done
	end_process
	while mountpoint -q "$RAM"; do umount -l "$RAM"; done
	rm -rf "$DIR"
}

end_process() {
	[ -n "${QSD:-}" ] || return 0
	kill "$QSD" 2>/dev/null || true
	wait_for gone "$QSD"
	exec {MONITOR}>&-
	QSD=
}

attach() {
	DEVICE=$(losetup -f --show "$1")
	LOOPS+=("$DEVICE")
}

detach() {
	losetup -d "$DEVICE"
	# The loop goes when its last user has gone.
	wait_for not_attached "$DIR/exported"
}

not_attached() { [ -z "$(losetup -j "$1")" ]; }

record_device() {
	BLOCKLOG=$RAM/blocklog
	truncate -s "$1" "$RAM/disk"
	: >"$BLOCKLOG"
	export_device \
		--blockdev driver=file,node-name=log,filename="$BLOCKLOG" \
		--blockdev driver=blklogwrites,node-name=top,file=disk,log=log,log-sector-size=512,discard=unmap
}

failing_device() {
	truncate -s "$1" "$RAM/disk"
	export_device --blockdev driver=raw,node-name=top,file=disk \
		--blockdev driver=blkdebug,node-name=broken,image=disk,inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=5
}

# The daemon's blocks, $RAM/disk below all of them, as a loop device: [BLOCKDEV...]
export_device() {
	: >"$DIR/exported"
	mkfifo "$DIR/monitor"
	: >"$DIR/answers"
	qemu-storage-daemon --chardev stdio,id=m --monitor chardev=m \
		--blockdev driver=file,node-name=disk,filename="$RAM/disk",discard=unmap "$@" \
		--export type=fuse,id=e,node-name=top,mountpoint="$DIR/exported",writable=on \
		<"$DIR/monitor" >>"$DIR/answers" 2>&1 3>&- &
	QSD=$!
	exec {MONITOR}>"$DIR/monitor"
	tell '{"execute": "qmp_capabilities"}'
	attach "$DIR/exported"
}

# One command to the daemon, answered.
tell() {
	local before
	before=$(answers)
	echo "$1" >&"$MONITOR"
	wait_for more_answers_than "$before"
}

answers() { grep -c '^{"return"' "$DIR/answers" || true; }
more_answers_than() { [ "$(answers)" -gt "$1" ]; }

device_breaks() { set_file broken; }
device_works() { set_file disk; }

set_file() {
	tell '{"execute": "blockdev-reopen", "arguments": {"options":
		[{"driver": "raw", "node-name": "top", "file": "'"$1"'"}]}}'
}

end_device() {
	detach
	end_process
}

mount_on() {
	mkdir -p "$2"
	mount ${3:+-o "$3"} "$1" "$2"
}
