#!/usr/bin/env bats
# reflink.bats: on XFS and btrfs the original goes on; its clones stay what they were.

# shellcheck disable=SC2154 # set by run, and by steps.bash
bats_require_minimum_version 1.5.0
load helper
load tiny
load steps
load ../lib/wait
load ../lib/fs

setup_file() {
	vm_setup_file
	: >"$VM_DIR/loops"
}

teardown_file() {
	local loop point
	for point in "$VM_DIR"/fs-*; do
		LAZYCLONE_STORE=$point/store lazyclone umount 2>/dev/null
		umount -l "$point" 2>/dev/null
	done
	while read -r loop; do losetup -d "$loop"; done <"$VM_DIR/loops"
	vm_teardown_file
}

# One file system of a type for the file: $fs, a store on it, a machine with an image on it.
setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	two=$VM_PREFIX-two
}

use_fs() {
	local loop
	fs=$VM_DIR/fs-$1
	image=$fs/$web.raw
	export LAZYCLONE_STORE=$fs/store
	if [ ! -e "$VM_DIR/$1.img" ]; then
		truncate -s 600M "$VM_DIR/$1.img"
		make_fs "$1" "$VM_DIR/$1.img"
		loop=$(losetup --find --show "$VM_DIR/$1.img")
		echo "$loop" >>"$VM_DIR/loops"
		mkdir "$fs"
		mount "$loop" "$fs"
		chmod 0711 "$fs"
	fi
	virsh undefine --nvram "$web" >/dev/null 2>&1 || true
	rm -f "$image"
	head -c 8M /dev/urandom >"$image"
	touch -d '1 hour ago' "$image"
	tiny_define "$web" "$image"
	sum=$(sha256sum <"$image")
	lazyclone mount >/dev/null
	mnt=$(lazyclone status --json | jq -r .mountpoint)
}

# Fingerprints of bases, and an empty directory for them, are of no matter here.
left() { tiny_left | grep -vxE 'bases(/[0-9a-f]{16}\.json(\.tmp)?)?'; }
copies() { find "$LAZYCLONE_STORE/bases" -mindepth 1 -maxdepth 1 -type d 2>/dev/null | wc -l; }
shows() { [ "$(sha256sum <"$mnt/$1/vda.raw")" = "$2" ]; }
overwrite() { dd if=/dev/urandom of="$image" bs=1M count=1 seek="$1" conv=notrunc status=none; }

original_goes_on() {
	use_fs "$1"
	expect 0 lazyclone clone "$web" "$one"
	[[ $stderr != *"cannot be started"* ]]
	[[ $output == *"of $image, reflinked"* ]]
	shows "$one" "$sum"
	[ "$(lazyclone info --json "$one" | jq '.disks[0].reflinked')" = true ]
	[ "$(lazyclone base list --json | jq '.[0].reflinked')" = true ]

	# As it is now it is one copy, whoever asks.
	lazyclone clone --base reflink -N 3 "$web" "$two" >/dev/null
	[ "$(copies)" -eq 1 ]

	virsh start "$web"
	virsh destroy "$web"
	overwrite 3
	lazyclone rm "${two}3"
	shows "$one" "$sum"
	[ "$(lazyclone status --json | jq -r '.daemon.bases[].state' | sort -u)" = ready ]

	# The original is another one now, and so is a clone of it.
	lazyclone clone "$web" "$two" >/dev/null
	[ "$(copies)" -eq 2 ]
	shows "$two" "$(sha256sum <"$image")"
	shows "$one" "$sum"

	# A clone of a clone stands on the same copy.
	lazyclone clone "$one" "$VM_PREFIX-three" >/dev/null
	lazyclone rm "$one" "${two}1" "${two}2"
	rm "$image"
	shows "$VM_PREFIX-three" "$sum"
	[ "$(copies)" -eq 2 ]
	lazyclone umount
	lazyclone mount
	shows "$VM_PREFIX-three" "$sum"
	lazyclone rm "$VM_PREFIX-three"
	[ "$(copies)" -eq 1 ]
	lazyclone rm "$two"
	[ "$(copies)" -eq 0 ]
}

@test "XFS: the original is written and started, its clones stay, copies go with their last clone" {
	original_goes_on xfs
}

@test "btrfs: the same" {
	original_goes_on btrfs
}

@test "an image that was written just now is copied each time: its time may not tell" {
	use_fs xfs
	touch "$image"
	lazyclone clone "$web" "$one" >/dev/null
	touch "$image"
	lazyclone clone "$web" "$two" >/dev/null
	[ "$(copies)" -eq 2 ]
	lazyclone rm "$one" "$two"
	[ "$(copies)" -eq 0 ]
}

@test "btrfs: an image without checksums is reflinked too" {
	use_fs btrfs
	rm "$image"
	touch "$image"
	chattr +C "$image"
	head -c 8M /dev/urandom >>"$image"
	sum=$(sha256sum <"$image")
	lazyclone clone --base reflink "$web" "$one" >/dev/null
	overwrite 0
	shows "$one" "$sum"
	lazyclone rm "$one"
}

@test "a chain of qcow2 images is copied whole, with the names that stand in it" {
	use_fs xfs
	qemu-img create -q -f qcow2 -F raw -b "$web.raw" "$fs/middle.qcow2"
	qemu-img create -q -f qcow2 -F qcow2 -b middle.qcow2 "$fs/top.qcow2"
	qemu-io -c 'write -P 7 1M 64K' "$fs/middle.qcow2" >/dev/null
	qemu-io -c 'write -P 9 2M 64K' "$fs/top.qcow2" >/dev/null
	qemu-img convert -O raw "$fs/top.qcow2" "$VM_DIR/whole.raw"
	touch -d '1 hour ago' "$fs"/*.qcow2
	lazyclone clone --base reflink --format qcow2 --backing "$fs/middle.qcow2" \
		--backing "$image:raw" --disk-only "$fs/top.qcow2" chain >/dev/null
	cmp "$VM_DIR/whole.raw" "$mnt/chain/disk.raw"
	overwrite 4
	rm "$fs/middle.qcow2"
	qemu-img create -q -f qcow2 "$fs/top.qcow2" 1G
	lazyclone umount
	lazyclone mount >/dev/null
	cmp "$VM_DIR/whole.raw" "$mnt/chain/disk.raw"
	lazyclone rm chain
	[ "$(copies)" -eq 0 ]
}

@test "reflink where it cannot be: refused with the way out, nothing made" {
	use_fs xfs
	cp "$image" "$VM_DIR/elsewhere.raw"
	virsh undefine "$web" >/dev/null
	tiny_define "$web" "$VM_DIR/elsewhere.raw"
	before=$(left)
	expect 10 lazyclone clone --base reflink "$web" "$one"
	says "cannot be reflinked into the store"
	[[ $stderr == *"--base protect"* ]]
	expect 10 lazyclone clone --base reflink --dry-run "$web" "$one"
	expect 2 lazyclone clone --base copy "$web" "$one"
	diff <(echo "$before") <(left)
	# Left to itself it protects, and says so.
	expect 0 lazyclone clone "$web" "$one"
	[[ $stderr == *"cannot be started as long as"* ]]
	lazyclone rm "$one"
}

@test "protect where reflink could be: the original itself is the base" {
	use_fs xfs
	expect 0 lazyclone clone --base protect "$web" "$one"
	[[ $stderr == *"cannot be started as long as"* ]]
	[ "$(lazyclone info --json "$one" | jq -r '.disks[0].base')" = "$image" ]
	[ "$(copies)" -eq 0 ]
	! virsh start "$web"
	lazyclone rm "$one"
}

@test "a full file system: no reflink, no clone, nothing left" {
	use_fs btrfs
	lazyclone clone "$web" "$one" >/dev/null
	lazyclone rm "$one" >/dev/null
	before=$(left)
	STOPAT_CALL=ioctl STOPAT_ERRNO=28 steps_run 2 fail clone "$web" "$one"
	[ -n "$step" ]
	[ "$code" -eq 9 ]
	diff <(echo "$before") <(left)
}

# Any command that changes something cleans first.
next_command() { expect 3 lazyclone rm "$VM_PREFIX-nobody"; }

whole_or_nothing() {
	next_command
	if [ "$(left)" = "$before" ]; then
		nothing=$((nothing + 1))
		return
	fi
	if [ ! -e "$mnt/$one" ]; then
		diff <(echo "$before") <(left)
		return 1
	fi
	shows "$one" "$sum" && [ "$(copies)" -eq 1 ] && lazyclone rm "$one" >/dev/null || return 1
	whole=$((whole + 1))
	[ "$(left)" = "$before" ] && return
	diff <(echo "$before") <(left)
}

@test "killed at each step: a whole clone on a whole copy, or neither" {
	use_fs xfs
	lazyclone clone "$web" "$one" >/dev/null
	lazyclone rm "$one"
	before=$(left)
	whole=0
	nothing=0
	steps_each kill whole_or_nothing clone "$web" "$one"
	lazyclone rm "$one" >/dev/null
	[ "$(left)" = "$before" ]
	echo "$steps steps: $nothing undone, $whole whole"
	[ "$steps" -gt 30 ] && [ "$nothing" -gt 20 ] && [ "$whole" -ge 1 ]
}

removed_after_next() {
	next_command
	if [ -e "$LAZYCLONE_STORE/clones/$one" ]; then
		[ "$(copies)" -eq 1 ] && lazyclone rm "$one" >/dev/null
	fi
	[ "$(copies)" -eq 0 ] && [ "$(left)" = "$before" ] || { left; return 1; }
}

@test "rm killed at each step: the copy stays as long as the clone, and goes with it" {
	use_fs xfs
	lazyclone clone "$web" "$one" >/dev/null
	lazyclone rm "$one"
	before=$(left)
	steps_before() { [ -e "$LAZYCLONE_STORE/clones/$one" ] || lazyclone clone "$web" "$one" >/dev/null; }
	steps_each kill removed_after_next rm "$one"
	[ "$(copies)" -eq 0 ]
}
