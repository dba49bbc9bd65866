#!/usr/bin/env bats
# Starting, stopping, and the mount point: before, while and after it is mounted on.

load helper

setup() {
	mount_setup
	base_image "$DIR/base.img" 2> /dev/null
	clone make one "$DIR/base.img"
}
teardown() { mount_teardown; }

refused() { # EXIT WORDS COMMAND...
	local want=$1 words=$2
	shift 2
	run "$@"
	echo "$output"
	[ "$status" -eq "$want" ]
	[[ $output == *"error: "*"$words"* ]]
}
lazyclonefs() { "$BUILD_BIN/lazyclonefs" "$@"; }

@test "the starting process ends when the mount answers" {
	serve
	[ -f "$MNT/one/vda.raw" ]
	[ "$(status .mountpoint)" = "$MNT" ]
	[ "$(readlink "/proc/$(daemon_pid)/cwd")" = / ]
	# Nothing of ours is inherited, not even a pipe that a caller waits for.
	[ "$(timeout 10 bash -c "'$BUILD_BIN/tests/mount/mkclone' stop '$STORE' &&
		'$BUILD_BIN/lazyclonefs' '$STORE' '$MNT' && echo up" | cat)" = up ]
	PIDS+=("$(daemon_pid)")
}

@test "a second daemon on the store is refused" {
	serve
	mkdir "$DIR/other"
	refused 4 "serves it already" lazyclonefs "$STORE" "$DIR/other"
	refused 4 "serves it already" lazyclonefs "$STORE" "$MNT"
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
}

@test "a mount point must be an empty directory, not ours, and apart from the store" {
	touch "$MNT/file"
	refused 4 "not empty" lazyclonefs "$STORE" "$MNT"
	rm "$MNT/file"
	refused 3 "No such file" lazyclonefs "$STORE" "$DIR/none"
	refused 2 "not a directory" lazyclonefs "$STORE" "$DIR/base.img"
	mkdir "$STORE/inside"
	refused 2 "inside the store" lazyclonefs "$STORE" "$STORE/inside"
	rmdir "$STORE/inside"
	refused 2 "cover the store" lazyclonefs "$STORE" "$DIR"
	refused 3 "" lazyclonefs "$DIR/nostore" "$MNT"
	refused 12 "" lazyclonefs "$DIR" "$MNT"
	serve
	"$BUILD_BIN/tests/mount/mkclone" make "$DIR/store2" one "$DIR/base.img"
	refused 4 "is mounted there" lazyclonefs "$DIR/store2" "$MNT"
}

@test "wrong usage is said in one line" {
	refused 2 "a store and a mount point" lazyclonefs
	refused 2 "a store and a mount point" lazyclonefs "$STORE"
	refused 2 "one argument too many" lazyclonefs a b c
	refused 2 "unknown" lazyclonefs -x a b
	refused 2 "unknown" lazyclonefs a b -o rw,nonsense
	refused 2 "workers" lazyclonefs a b -o workers=0
	lazyclonefs --help | grep -q usage:
	lazyclonefs --version
}

@test "the directory below cannot be written while nothing is mounted" {
	serve
	[ "$(status .guard)" = immutable ] || [ "$(status .guard)" = mode ]
	guard=$(status .guard)
	stop_daemon
	run ls "$MNT/one"
	[ "$status" -ne 0 ]
	if [ "$guard" = immutable ]; then
		run touch "$MNT/file"
		[ "$status" -ne 0 ]
		run mkdir "$MNT/one"
		[ "$status" -ne 0 ]
	else
		[ "$(stat -c %a "$MNT")" = 0 ]
	fi
	# It can be mounted on again.
	serve
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
	kill_daemon
	umount "$MNT"
	run touch "$MNT/file"
	[ "$guard" = mode ] || [ "$status" -ne 0 ]
}

@test "where there is no immutable attribute the mode closes it, and status says so" {
	mkdir "$DIR/ram"
	mount -t ramfs none "$DIR/ram"
	mkdir "$DIR/ram/mnt"
	MNT=$DIR/ram/mnt
	serve
	guard=$(status .guard)
	stop_daemon
	mode=$(stat -c %a "$MNT")
	serve
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
	stop_daemon
	umount "$DIR/ram"
	[ "$guard" = mode ]
	[ "$mode" = 0 ]
}

@test "a dead mount is recognised and cleared" {
	serve
	kill_daemon
	run ls "$MNT"
	[[ $output == *"Transport endpoint is not connected"* ]]
	serve
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
	# Also while somebody still stands in it.
	exec 7< "$MNT/one/vda.raw"
	kill_daemon
	serve
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
	run head -c 1 <&7
	[ "$status" -ne 0 ]
	exec 7<&-
	[ "$(grep -c " $MNT fuse" /proc/mounts)" -eq 1 ]
}

@test "somebody else's mount is left alone" {
	mount -t tmpfs none "$MNT"
	touch "$MNT/file"
	refused 4 "not empty" lazyclonefs "$STORE" "$MNT"
	[ -f "$MNT/file" ]
	umount "$MNT"
}

@test "a stop is refused while a disk is open or somebody stands in the mount" {
	serve
	exec 7< "$MNT/one/vda.raw"
	refused 4 "one/vda.raw is open" clone stop
	head -c 1 <&7 > "$DIR/byte"
	exec 7<&-
	exec 7< "$MNT"
	refused 4 "" clone stop
	exec 7<&-
	# And after a refused stop disks open as before.
	head -c 1 "$MNT/one/vda.raw" > "$DIR/byte"
	stop_daemon
	run grep " $MNT " /proc/mounts
	[ "$status" -ne 0 ]
	refused 7 "not running" clone status
}

@test "a stopped store can be served again at once" {
	for _ in 1 2 3 4 5; do
		serve
		echo x | dd of="$MNT/one/vda.raw" conv=notrunc status=none
		clone stop
	done
}

@test "SIGTERM and SIGINT stop cleanly, whatever is open" {
	for signal in TERM INT; do
		serve
		echo "$signal" | dd of="$MNT/one/vda.raw" bs=512 conv=notrunc,sync status=none
		exec 7< "$MNT/one/vda.raw"
		pid=$(daemon_pid)
		kill "-$signal" "$pid"
		wait_for gone "$pid"
		run grep " $MNT " /proc/mounts
		[ "$status" -ne 0 ]
		run head -c 1 <&7
		[ "$status" -ne 0 ]
		exec 7<&-
		serve
		[ "$(head -n 1 "$MNT/one/vda.raw")" = "$signal" ]
		stop_daemon
	done
}

@test "an unmount by hand or an aborted connection ends the daemon" {
	serve
	pid=$(daemon_pid)
	umount "$MNT"
	wait_for gone "$pid"
	serve
	pid=$(daemon_pid)
	minor=$(mountpoint -d "$MNT")
	mkdir "$DIR/fusectl"
	mount -t fusectl none "$DIR/fusectl"
	# It belongs to the mount: one disk's requests must not use up all there are.
	[ "$(cat "$DIR/fusectl/${minor#*:}/max_background")" -eq 65535 ]
	echo 1 > "$DIR/fusectl/${minor#*:}/abort"
	umount "$DIR/fusectl"
	wait_for gone "$pid"
	run grep " $MNT " /proc/mounts
	[ "$status" -ne 0 ]
}

@test "in the foreground it says what happens and serves the same" {
	"$BUILD_BIN/lazyclonefs" -f "$STORE" "$MNT" 2> "$DIR/log" 3>&- &
	pid=$!
	PIDS+=("$pid")
	wait_for test -f "$MNT/one/vda.raw"
	[ "$(daemon_pid)" -eq "$pid" ]
	kill "$pid"
	wait "$pid"
	grep -q "serving $STORE at $MNT" "$DIR/log"
}

@test "mount(8) and fstab(5) mount it" {
	# What mount(8) calls for the type fuse.lazyclonefs.
	PATH=$BUILD_BIN:$PATH mount.fuse3 "$STORE" "$MNT" -t fuse.lazyclonefs \
		-o rw,noauto,_netdev,x-systemd.automount
	PIDS+=("$(daemon_pid)")
	[ "$(findmnt -no FSTYPE "$MNT")" = fuse.lazyclone ]
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
	umount "$MNT"
	# As mount(8) calls the helper that `make install` puts in its place.
	ln -s "$BUILD_BIN/lazyclonefs" "$DIR/mount.fuse.lazyclone"
	"$DIR/mount.fuse.lazyclone" "$STORE" "$MNT" -f -o rw
	run findmnt "$MNT"
	[ "$status" -ne 0 ]
	wait_for mounts_by_helper
	PIDS+=("$(daemon_pid)")
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
}
# The daemon of the mount before may still be about to end.
mounts_by_helper() { "$DIR/mount.fuse.lazyclone" "$STORE" "$MNT" -sn -o rw,noatime -t fuse.lazyclone; }

@test "the original is protected from the start, for all clones and holders" {
	serve
	run qemu-io -f raw -c 'write 0 512' "$DIR/base.img"
	[ "$status" -ne 0 ]
	qemu-img info "$DIR/base.img" > "$DIR/info"
	clone detach one
	qemu-io -f raw -c 'read 0 512' "$DIR/base.img" > "$DIR/io"
	# A hold lives as long as its connection.
	mkfifo "$DIR/end"
	clone hold "$DIR/base.img" < "$DIR/end" > "$DIR/held" 3>&- &
	holder=$!
	PIDS+=("$holder")
	exec 8> "$DIR/end"
	wait_for test -s "$DIR/held"
	run qemu-io -f raw -c 'write 0 512' "$DIR/base.img"
	[ "$status" -ne 0 ]
	kill -KILL "$holder"
	exec 8>&-
	wait_for qemu-io -f raw -c 'write 0 512' "$DIR/base.img"
}

@test "what lies on a lazyclone mount is no base" {
	serve
	refused 10 "lies on a lazyclone mount" clone hold "$MNT/one/vda.raw" < /dev/null
	"$BUILD_BIN/tests/mount/mkclone" status "$STORE" > "$DIR/status"
}

@test "the control socket refuses what is no request" {
	serve
	refused 2 "unknown" clone call '{"verb": "nonsense"}'
	refused 1 "verb" clone call '{"a": 1}'
	refused 2 "clone" clone call '{"verb": "attach"}'
	refused 2 "clone" clone call '{"verb": "attach", "clone": 7}'
	refused 2 "not a name" clone call '{"verb": "attach", "clone": "../one"}'
	refused 2 "path" clone call '{"verb": "hold", "path": "base.img"}'
	refused 3 "not attached" clone call \
		'{"verb": "detach", "clone": "one", "id": "00000000000000000000000000000000"}'
	# Others are told why they get no answer.
	refused 5 "only root" setpriv --reuid=65534 --clear-groups perl -e '
		use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0);
		connect(S, pack_sockaddr_un($ARGV[0])) or die "error: connect: $!";
		my $r = <S>; print "error: $r"; exit($r =~ /"code":13/ ? 5 : 1)' \
		"/run/lazyclone/$(status .store_id).sock"
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
}
