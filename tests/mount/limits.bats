#!/usr/bin/env bats
# Full file systems, quotas and sizes: no space is told in time, and nothing that was acknowledged is lost.

load helper
load ../lib/fs

# A file system of its own for the store, so large and of that type.
small_fs() { # TYPE SIZE
	truncate -s "$2" "$DIR/small.img"
	local options=()
	[ "$1" != ext4 ] || options=(-m 0)
	make_fs "$1" "$DIR/small.img" "${options[@]}"
	mkdir "$DIR/small"
	mount -o loop "$DIR/small.img" "$DIR/small"
	STORE=$DIR/small/store
}

setup() {
	mount_setup
	base_image "$DIR/base.img"
	random_bytes 67108864 > "$DIR/data"
	cp "$DIR/base.img" "$DIR/expect"
}

teardown() { mount_teardown; }

fs_free() { stat -f -c '%a %S' "$DIR/small" | { read -r n size; echo $((n * size)); }; }
guest_free() { stat -f -c '%a %S' "$MNT/${1:-}" | { read -r n size; echo $((n * size)); }; }

# Another program takes all but so many bytes.
leave_free() {
	local have
	have=$(fs_free)
	[ "$have" -le "$1" ] || fallocate -l $((have - $1)) "$DIR/small/ballast$1"
}

# Another program takes all there is, in small bites too.
fill_up() {
	local bite
	for bite in 1M 64k 4k; do
		dd if=/dev/zero bs=$bite status=none >> "$DIR/small/filler" 2> /dev/null || true
	done
}

# Write data to a disk of a guest in pieces of 64 KiB from AT on, at most COUNT;
# sets $written, the acknowledged pieces, which $DIR/expect gets, too.
guest_writes() { # CLONE AT COUNT
	run dd if="$DIR/data" of="$MNT/$1/vda.raw" bs=64k skip="$2" seek="$2" count="$3" \
		conv=notrunc oflag=direct
	written=$(sed -n 's/^\([0-9]*\)+0 records out/\1/p' <<< "$output")
	dd if="$DIR/data" of="$DIR/expect" bs=64k skip="$2" seek="$2" count="$written" \
		conv=notrunc status=none
}

no_space() { [ "$status" -ne 0 ] && [[ $output == *"No space left on device"* ]]; }

# The disk is what its guest was told it is; of the piece that failed a part may be there.
same() { # CLONE [PIECE]
	if [ -n "${2:-}" ]; then
		cmp -n $(($2 * 65536)) "$DIR/expect" "$MNT/$1/vda.raw"
		cmp -i $((($2 + 1) * 65536)) "$DIR/expect" "$MNT/$1/vda.raw"
	else
		cmp "$DIR/expect" "$MNT/$1/vda.raw"
	fi
}

can_write() { # CLONE AT COUNT
	guest_writes "$1" "$2" "$3"
	[ "$status" -eq 0 ]
}

full_and_back() { # TYPE SIZE
	local at
	small_fs "$1" "$2"
	clone make one "$DIR/base.img"
	clone make other "$DIR/base.img"
	serve
	# The other clone's 8 MiB are what its removal gives back.
	dd if="$DIR/data" of="$MNT/other/vda.raw" bs=1M count=8 conv=notrunc status=none
	leave_free 25165824
	guest_writes one 0 960
	no_space
	[ "$written" -ge 100 ]
	at=$written
	same one "$at"
	[ "$(guest_free)" -lt 16777216 ]

	# Full: reads, flushes and discards go on.
	sync -d "$MNT/one/vda.raw"
	cmp -i 33554432 "$DIR/base.img" "$MNT/other/vda.raw"
	fallocate -p -o 0 -l 1M "$MNT/one/vda.raw"
	dd if=/dev/zero of="$DIR/expect" bs=1M count=1 conv=notrunc status=none
	same one "$at"

	# Removing a clone works, also when another program took the last byte.
	fill_up
	same one "$at"
	clone detach other
	clone remove other
	[ ! -e "$STORE/clones/other" ]
	sync -d "$MNT/one/vda.raw"
	same one "$at"

	# Room made: writing goes on where it stopped.
	rm -f "$DIR/small"/ballast* "$DIR/small/filler"
	wait_for can_write one "$at" 64
	same one

	# Nothing of it needs this daemon.
	kill_daemon
	umount "$MNT"
	serve
	same one
	stop_daemon
	umount "$DIR/small"
}

@test "ext4 full by guests and by another program: nothing lost, room is used" {
	full_and_back ext4 80M
}

@test "XFS full by guests and by another program: nothing lost, room is used" {
	full_and_back xfs 300M
}

@test "btrfs full by guests and by another program: nothing lost, room is used" {
	full_and_back btrfs 300M
}

@test "a store on a full file system starts, reads, and refuses growth alone" {
	small_fs ext4 64M
	clone make one "$DIR/base.img"
	serve
	can_write one 0 16
	stop_daemon
	fill_up
	serve
	same one
	guest_writes one 100 200
	no_space
	same one $((100 + written))
	rm "$DIR/small/filler"
	wait_for can_write one $((100 + written)) 16
	same one
	stop_daemon
	umount "$DIR/small"
}

@test "statfs says what guests can still write, not what the file system has" {
	small_fs ext4 64M
	clone make one "$DIR/base.img"
	serve
	reserve=$(stat -c %s "$STORE/reserve")
	[ "$reserve" -ge $((10 << 20)) ]
	[ $(($(stat -c %b "$STORE/reserve") * 512)) -ge "$reserve" ]
	[ "$(guest_free)" -eq "$(fs_free)" ]
	fill_up
	[ "$(guest_free)" -lt 65536 ]
	rm "$DIR/small/filler"
	stop_daemon
	serve -o quota=30M,clone_quota=20M
	[ "$(guest_free)" -eq $((30 << 20)) ]
	[ "$(guest_free one)" -eq $((20 << 20)) ]
	[ "$(guest_free one/vda.raw)" -eq $((20 << 20)) ]
	can_write one 0 16
	[ "$(guest_free)" -lt $((30 << 20)) ]
	[ "$(guest_free one)" -lt $((20 << 20)) ]
	# The same when nobody has the disk open.
	before=$(guest_free one)
	stop_daemon
	serve -o quota=30M,clone_quota=20M
	[ "$(guest_free one)" -ge $((before - 1048576)) ]
	[ "$(guest_free one)" -lt $((20 << 20)) ]
	stop_daemon
	umount "$DIR/small"
}

@test "a clone's quota ends its writes and no other's" {
	clone make one "$DIR/base.img"
	clone make other "$DIR/base.img"
	serve -o clone_quota=24M
	guest_writes one 0 960
	no_space
	# Incompressible: the slots up to 8 MiB, and what lies in them.
	[ "$written" -ge 200 ]
	[ "$written" -le 384 ]
	same one "$written"
	sync -d "$MNT/one/vda.raw"
	dd if="$DIR/data" of="$MNT/other/vda.raw" bs=1M count=8 conv=notrunc status=none
	# What is thrown away can be written again.
	at=$written
	fallocate -p -o 0 -l $((at * 65536)) "$MNT/one/vda.raw"
	dd if=/dev/zero of="$DIR/expect" bs=64k count="$at" conv=notrunc status=none
	sync -d "$MNT/one/vda.raw"
	wait_for can_write one 0 64
	same one "$at"
	stop_daemon
	# A larger quota lets it go on.
	serve -o clone_quota=60M
	can_write one "$at" 64
	same one
}

@test "the store's quota is that of all clones together" {
	clone make one "$DIR/base.img"
	clone make other "$DIR/base.img"
	serve -o quota=40M
	dd if="$DIR/data" of="$MNT/other/vda.raw" bs=1M count=12 conv=notrunc status=none
	guest_writes one 0 960
	no_space
	at=$written
	[ "$at" -ge 60 ]
	[ "$at" -le 400 ]
	same one "$at"
	cmp -n 12582912 "$DIR/data" "$MNT/other/vda.raw"
	# Also that of clones that nobody has opened since.
	stop_daemon
	serve -o quota=40M
	run dd if="$DIR/data" of="$MNT/one/vda.raw" bs=1M seek=40 count=24 conv=notrunc oflag=direct
	no_space
	cp "$MNT/one/vda.raw" "$DIR/expect"
	clone detach other
	clone remove other
	wait_for can_write one "$at" 64
	same one
}

@test "what growing uncovers is zeros, whatever the size of the base" {
	for size in 1048575 1048577 1048576 1000000 511 513; do
		random_bytes "$size" > "$DIR/base$size.img" 2> /dev/null
		clone make "c$size" "$DIR/base$size.img"
	done
	serve
	for size in 1048575 1048577 1048576 1000000 511 513; do
		disk=$MNT/c$size/vda.raw
		shown=$(stat -c %s "$disk")
		[ "$shown" -eq $(((size + 511) / 512 * 512)) ]
		cp "$DIR/base$size.img" "$DIR/expect"
		truncate -s "$shown" "$DIR/expect"
		cmp "$DIR/expect" "$disk"
		for to in $((shown + 512)) 2097152 9000448; do
			truncate -s "$to" "$disk"
			truncate -s "$to" "$DIR/expect"
			cmp "$DIR/expect" "$disk"
		done
		for bad in 8388608 9000449 0 99999999999999999; do
			run truncate -s "$bad" "$disk"
			[ "$status" -ne 0 ]
		done
		echo end | dd of="$disk" seek=9000000 oflag=seek_bytes conv=notrunc status=none
		echo end | dd of="$DIR/expect" seek=9000000 oflag=seek_bytes conv=notrunc status=none
		cmp "$DIR/expect" "$disk"
		kill_daemon
		umount "$MNT"
		serve
		cmp "$DIR/expect" "$disk"
	done
	stop_daemon
}
