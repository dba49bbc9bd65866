#!/usr/bin/env bash
# slow.bash: a file system on a device that is a process, so that it can be stopped; sourced.
#
#	slow_device FILE...    $DIR/slow with copies of the files; the device is process $DEVICE
#	forget FILE...         out of the page cache
#	wait_pid PID           one that waits for a device: remembered, and killed at the end
#	all_wait               until all of them do

slow_device() {
	mkdir "$DIR/copy" "$DIR/slow"
	cp --sparse=always "$@" "$DIR/copy/"
	truncate -s 128M "$DIR/slow.disk"
	mkfs.ext4 -q -d "$DIR/copy" "$DIR/slow.disk"
	: > "$DIR/slow.device"
	qemu-storage-daemon --daemonize --pidfile "$DIR/slow.pid" \
		--blockdev driver=file,node-name=disk,filename="$DIR/slow.disk" \
		--export type=fuse,id=e,node-name=disk,mountpoint="$DIR/slow.device",writable=on 3>&-
	DEVICE=$(cat "$DIR/slow.pid")
	PIDS+=("$DEVICE")
	mount -o loop,ro "$DIR/slow.device" "$DIR/slow"
}

forget() {
	local file
	for file; do dd if="$file" iflag=nocache count=0 status=none; done
}

wait_pid() {
	PIDS+=("$1")
	WAITING+=("$1")
}

all_wait() {
	local pid
	for pid in "${WAITING[@]}"; do wait_for waits_for_answer "$pid"; done
}
waits_for_answer() { grep -qs request_wait_answer "/proc/$1/wchan" "/proc/$1/stack"; }
