#!/usr/bin/env bats
# What one sees on the mount: names, attributes, what is refused.

load helper

setup() {
	mount_setup
	base_image "$DIR/base.img"
	clone make one "$DIR/base.img"
}
teardown() { mount_teardown; }

@test "a clone is a directory with a file per disk" {
	truncate -s 1000 "$DIR/odd.img"
	clone make two "$DIR/base.img" "hdb=$DIR/odd.img"
	serve
	[ "$(cd "$MNT" && find . | sort | xargs)" = ". ./one ./one/vda.raw ./two ./two/hdb.raw ./two/vda.raw" ]
	[ "$(stat -c %s "$MNT/two/vda.raw")" -eq 67108864 ]
	[ "$(stat -c %s "$MNT/two/hdb.raw")" -eq 1024 ]
	[ "$(stat -c %h "$MNT")" -eq 4 ]
	findmnt -no FSTYPE,SOURCE,OPTIONS "$MNT" | grep "^fuse.lazyclone *$STORE *rw,nosuid,nodev,"
}

@test "clones appear and vanish without a remount" {
	serve
	exec 7< "$MNT"
	[ ! -e "$MNT/two" ]
	clone make two "$DIR/base.img"
	[ ! -e "$MNT/two" ]
	clone attach two
	cmp "$DIR/base.img" "$MNT/two/vda.raw"
	[ "$(stat -c %h "$MNT")" -eq 4 ]
	clone attach two
	clone detach two
	[ ! -e "$MNT/two/vda.raw" ]
	[ ! -e "$MNT/two" ]
	[ "$(ls "$MNT")" = one ]
	clone remove two
	# A namesake is another clone.
	ino=$(stat -c %i "$MNT/one")
	clone make two "$DIR/base.img"
	clone attach two
	[ "$(ls "$MNT" | xargs)" = "one two" ]
	[ "$(stat -c %i "$MNT/one")" -eq "$ino" ]
	exec 7<&-
}

@test "a namesake shows nothing of the clone before it" {
	serve
	echo mine | dd of="$MNT/one/vda.raw" conv=notrunc status=none
	clone detach one
	clone remove one
	clone make one "$DIR/base.img"
	clone attach one
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
}

@test "a clone in use cannot be detached, a closed one at once" {
	serve
	exec 7< "$MNT/one/vda.raw"
	[ "$(status '.clones[0].disks[0].opens')" -eq 1 ]
	run clone detach one
	[ "$status" -eq 4 ]
	[[ $output == *"vda.raw is open"* ]]
	exec 7<&-
	clone detach one
	run clone detach one
	[ "$status" -eq 3 ]
	run clone attach nobody
	[ "$status" -eq 3 ]
}

@test "inode numbers are the same after a restart" {
	serve
	before=$(cd "$MNT" && stat -c '%i %n' one one/vda.raw)
	kill_daemon
	serve
	[ "$(cd "$MNT" && stat -c '%i %n' one one/vda.raw)" = "$before" ]
}

@test "owner and mode are kept, and survive" {
	serve
	chown 64055:64056 "$MNT/one/vda.raw"
	chmod 0640 "$MNT/one/vda.raw"
	[ "$(stat -c '%u %g %a' "$MNT/one/vda.raw")" = "64055 64056 640" ]
	kill_daemon
	serve
	[ "$(stat -c '%u %g %a' "$MNT/one/vda.raw")" = "64055 64056 640" ]
	touch -d 2001-01-01 "$MNT/one/vda.raw"
	chmod u+s "$MNT/one/vda.raw"
	[ "$(stat -c '%a' "$MNT/one/vda.raw")" = 640 ]
	run chown 1 "$MNT/one"
	[ "$status" -ne 0 ]
}

@test "a disk grows and never shrinks" {
	serve
	run truncate -s 1M "$MNT/one/vda.raw"
	[ "$status" -ne 0 ]
	[[ $output == *"Invalid argument"* ]]
	run bash -c ": > '$MNT/one/vda.raw'"
	[ "$status" -ne 0 ]
	run truncate -s +100 "$MNT/one/vda.raw"
	[ "$status" -ne 0 ]
	truncate -s 96M "$MNT/one/vda.raw"
	[ "$(stat -c %s "$MNT/one/vda.raw")" -eq $((96 * 1048576)) ]
	echo end | dd of="$MNT/one/vda.raw" bs=512 seek=$((96 * 2048 - 1)) conv=notrunc,sync status=none
	kill_daemon
	serve
	[ "$(stat -c %s "$MNT/one/vda.raw")" -eq $((96 * 1048576)) ]
	cmp -n 67108864 "$DIR/base.img" "$MNT/one/vda.raw"
	[ "$(tail -c 512 "$MNT/one/vda.raw" | head -n 1)" = end ]
	# What a larger base would hold there is none of ours.
	tail -c +67108865 "$MNT/one/vda.raw" | head -c $((32 * 1048576 - 512)) |
		cmp - <(head -c $((32 * 1048576 - 512)) /dev/zero)
}

@test "a write at or over the end fails and grows nothing" {
	serve
	run dd if=/dev/zero of="$MNT/one/vda.raw" bs=1M seek=64 count=1 conv=notrunc
	[ "$status" -ne 0 ]
	[[ $output == *"File too large"* ]]
	run dd if=/dev/zero of="$MNT/one/vda.raw" bs=4k seek=$((64 * 256 - 1)) count=2 conv=notrunc
	[ "$status" -ne 0 ]
	[ "$(stat -c %s "$MNT/one/vda.raw")" -eq 67108864 ]
	run bash -c "echo x >> '$MNT/one/vda.raw'"
	[ "$status" -ne 0 ]
	# At the end there is nothing to read, and that is no error.
	[ "$(dd if="$MNT/one/vda.raw" bs=1M skip=64 status=none | wc -c)" -eq 0 ]
	[ "$(dd if="$MNT/one/vda.raw" bs=1M skip=63 iflag=direct status=none | wc -c)" -eq 1048576 ]
}

@test "everything else about names is refused, today and the next time" {
	serve
	for _ in 1 2; do
		run touch "$MNT/new"
		[[ $output == *"Operation not permitted"* ]]
		run touch "$MNT/one/new"
		[[ $output == *"Operation not permitted"* ]]
		run mkdir "$MNT/dir"
		[[ $output == *"Operation not permitted"* ]]
		run rm -f "$MNT/one/vda.raw"
		[[ $output == *"Operation not permitted"* ]]
		run rmdir "$MNT/one"
		[[ $output == *"Operation not permitted"* ]]
		run mv "$MNT/one" "$MNT/two"
		[[ $output == *"Operation not permitted"* ]]
		run ln "$MNT/one/vda.raw" "$MNT/one/b.raw"
		[[ $output == *"Operation not permitted"* ]]
		run ln -s a "$MNT/b"
		[[ $output == *"Operation not permitted"* ]]
		run mkfifo "$MNT/fifo"
		[[ $output == *"Operation not permitted"* ]]
	done
	cmp "$DIR/base.img" "$MNT/one/vda.raw"
}

@test "statfs is the store's file system" {
	serve
	[ "$(stat -f -c '%b %S' "$MNT")" = "$(stat -f -c '%b %S' "$STORE")" ]
	[ "$(stat -f -c '%T' "$MNT")" = fuseblk ] || [ "$(stat -f -c '%t' "$MNT")" = 65735546 ]
}

@test "the time of a disk is that of its last write, blocks are what reads as data" {
	serve
	created=$(stat -c %Y "$MNT/one/vda.raw")
	# 9 MiB of the base and a bit are data, however many blocks it takes there.
	blocks=$(stat -c %b "$MNT/one/vda.raw")
	[ "$blocks" -ge $((9 * 2048)) ]
	[ "$blocks" -le $((64 * 2048)) ]
	wait_for later_than "$created"
	echo x | dd of="$MNT/one/vda.raw" seek=60M oflag=seek_bytes conv=notrunc status=none
	written=$(stat -c %Y "$MNT/one/vda.raw")
	[ "$written" -gt "$created" ]
	[ "$(stat -c %b "$MNT/one/vda.raw")" -gt "$blocks" ]
	stop_daemon
	serve
	[ "$(stat -c %Y "$MNT/one/vda.raw")" -eq "$written" ]
}
later_than() { [ "$(date +%s)" -gt "$1" ]; }

@test "QEMU sees that 512 bytes are enough" {
	serve
	answer=$(perl -e 'open(F, "<", $ARGV[0]) or die; my $b = "\0" x 12;
		defined(ioctl(F, 0x800c581e, $b)) or die "ioctl: $!"; print join(" ", unpack("L3", $b))' \
		"$MNT/one/vda.raw")
	[ "$answer" = "512 512 1048576" ]
	# Aligned to that, it is neither merged with its neighbours nor read before.
	strace -f -e trace=pread64,pwrite64 -o "$DIR/trace" \
		qemu-io -f raw -t none -c 'write -P 7 512 512' "$MNT/one/vda.raw"
	grep -E 'pwrite64\([0-9]+, .*, 512, 512\)' "$DIR/trace"
	run grep -E 'pwrite64\([0-9]+, .*, 4096, ' "$DIR/trace"
	[ "$status" -eq 1 ]
}

@test "locks stay in the kernel and work" {
	serve
	exec 7<> "$MNT/one/vda.raw"
	flock -x 7
	run flock -n -x "$MNT/one/vda.raw" true
	[ "$status" -ne 0 ]
	exec 7>&-
	flock -n -x "$MNT/one/vda.raw" true
	# QEMU's own: a second writer is refused.
	qemu-system-x86_64 -machine q35,accel=tcg -nodefaults -display none -S -daemonize \
		-pidfile "$DIR/qemu.pid" -blockdev "driver=file,node-name=f,filename=$MNT/one/vda.raw" \
		-device virtio-blk-pci,drive=f
	PIDS+=("$(cat "$DIR/qemu.pid")")
	run qemu-io -f raw -c 'write 0 512' "$MNT/one/vda.raw"
	[ "$status" -ne 0 ]
	[[ $output == *lock* ]]
}

@test "many clones, listed and gone through while others come and go" {
	for i in $(seq 60); do clone make "many$i" "$DIR/base.img"; done
	serve
	[ "$(ls "$MNT" | wc -l)" -eq 61 ]
	(for i in $(seq 30); do clone detach "many$i"; done) 3>&- &
	busy=$!
	for _ in 1 2 3 4 5; do
		find "$MNT" -name vda.raw > "$DIR/found" 2>/dev/null || true
		for i in $(seq 31 60); do grep -q "/many$i/" "$DIR/found"; done
	done
	wait "$busy"
	[ "$(ls "$MNT" | wc -l)" -eq 31 ]
	[ "$(status '.clones | length')" -eq 31 ]
	[ "$(status '.bases | length')" -eq 1 ]
}
