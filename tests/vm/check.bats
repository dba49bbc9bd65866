#!/usr/bin/env bats
# check.bats: check and quota online, and blockresize of a machine that runs.

# shellcheck disable=SC2154 # set by run
bats_require_minimum_version 1.5.0
load helper
load tiny

setup_file() {
	vm_setup_file
	tiny_define "$VM_PREFIX-web"
	lazyclone mount >/dev/null
}

teardown_file() { vm_teardown_file; }

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	two=$VM_PREFIX-two
	disk=$VM_MOUNT/$one/vda.raw
	base=$VM_DIR/$web.raw
	before=$(tiny_left)
}

teardown() {
	tiny_unchanged
}

# Random, so that it lies in the log as it is: N MiB from the disk's begin, of known first bytes.
fill() {
	head -c "${1}M" /dev/urandom >"$VM_DIR/fill"
	printf 'here the data begin' | dd of="$VM_DIR/fill" conv=notrunc status=none
	dd if="$VM_DIR/fill" of="$disk" bs=64K conv=notrunc status=none
}

# Turn over one byte of FILE in the first block of the disk's data.
damage() {
	local at byte
	at=$(LC_ALL=C grep -obUaF -m 1 'here the data begin' "$1" | head -n 1 | cut -d: -f1)
	[ -n "$at" ] || return 1
	at=$((at + 100))
	byte=$(od -An -v -tu1 -j "$at" -N 1 "$1")
	# shellcheck disable=SC2059 # the format is the byte
	printf "\\x$(printf '%02x' $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

@test "nothing wrong: 0, what was verified is said, also while it runs" {
	lazyclone -q clone "$web" "$one"
	expect 0 lazyclone check "$one"
	[[ $output == *"$one vda: 0 blocks read, 0 bad"*"$one: no damage"* ]]
	fill 4
	virsh start "$one" >/dev/null
	expect 0 lazyclone --json check "$one"
	[ "$(jq -c '.[0].disks[0] | [.target, .data_blocks, .bad_blocks]' <<<"$output")" = \
		'["vda",1024,0]' ]
	[ "$(virsh domstate "$one")" = running ]
	[ -z "$stderr" ]
	# Layers below it are verified too.
	lazyclone -q snapshot "$one" s1 >/dev/null
	expect 0 lazyclone --json check "$one"
	[ "$(jq '.[0].disks[0].data_blocks' <<<"$output")" -eq 1024 ]
	lazyclone rm --force "$one" >/dev/null
	rm "$VM_DIR/fill"
}

@test "a block that was damaged: 2, counted, and reading it fails" {
	lazyclone -q clone "$web" "$one"
	fill 4
	lazyclone umount
	damage "$(find "$LAZYCLONE_STORE/clones/$one" -name '*.log')"
	lazyclone mount >/dev/null
	run --separate-stderr lazyclone check "$one"
	[ "$status" -eq 2 ]
	[[ $output == *"1024 blocks read, 1 bad"*DAMAGED* ]]
	[[ $stderr == "hint: "*"lazyclone-fsck -n -f $LAZYCLONE_STORE" ]]
	run ! dd if="$disk" of=/dev/null bs=4K count=1 status=none
	expect 2 lazyclone --json check "$one"
	[ "$(jq '.[0].bad_blocks' <<<"$output")" -eq 1 ]
	# Worse than a name that is not there; and a whole clone beside it is fine.
	lazyclone -q clone "$web" "$two"
	expect 2 lazyclone check "$one" "$two" "$VM_PREFIX-nobody"
	[[ $output == *"$two: no damage"* ]]
	# Written again, it is whole again.
	dd if="$VM_DIR/fill" of="$disk" bs=4K count=1 conv=notrunc status=none
	expect 0 lazyclone check "$one"
	lazyclone rm "$one" "$two" >/dev/null
	rm "$VM_DIR/fill"
}

@test "damage in a layer is found through each clone on it" {
	lazyclone -q clone "$web" "$one"
	fill 1
	lazyclone -q clone "$one" "$two"
	lazyclone umount
	damage "$(find "$LAZYCLONE_STORE/layers" -name '*.log')"
	lazyclone mount >/dev/null
	for clone in "$one" "$two"; do
		expect 2 lazyclone check "$clone"
	done
	lazyclone rm "$one" "$two" >/dev/null
	rm "$VM_DIR/fill"
}

@test "files of no use: 3, and the daemon's next start removes them" {
	lazyclone -q clone "$web" "$one"
	head -c 1M /dev/zero >"$LAZYCLONE_STORE/clones/$one/0123456789abcdef0123456789abcdef.log"
	expect 3 lazyclone check "$one"
	[[ $output == *"1 files of no use take 1.0 MiB"* ]]
	lazyclone umount
	lazyclone mount >/dev/null
	expect 0 lazyclone check "$one"
	lazyclone rm "$one" >/dev/null
}

@test "what could not be checked: 1, as qemu-img says, wrong usage too" {
	expect 1 lazyclone check "$VM_PREFIX-nobody"
	says "no such clone"
	expect 1 lazyclone check
	expect 1 lazyclone check --nonsense
}

@test "a clone whose manifest is damaged: the hint names lazyclone-fsck" {
	lazyclone -q clone "$web" "$one"
	lazyclone umount
	cp "$LAZYCLONE_STORE/clones/$one/manifest" "$VM_DIR/manifest"
	echo damage >"$LAZYCLONE_STORE/clones/$one/manifest"
	expect 0 lazyclone list
	[[ $stderr == *"lazyclone-fsck $LAZYCLONE_STORE $one"* ]]
	expect 0 lazyclone --json info "$one"
	[[ $(jq -r .hint <<<"$output") == *"lazyclone-fsck $LAZYCLONE_STORE $one"* ]]
	expect 12 lazyclone reset "$one"
	[[ $stderr == *"hint: "*"lazyclone-fsck $LAZYCLONE_STORE $one"* ]]
	cp "$VM_DIR/manifest" "$LAZYCLONE_STORE/clones/$one/manifest"
	lazyclone mount >/dev/null
	lazyclone rm "$one" >/dev/null
	rm "$VM_DIR/manifest"
}

# ---- quota ----

@test "quota: set with the clone, shown, changed, taken away; it stops writes and no more" {
	lazyclone -q clone --quota 16M "$web" "$one"
	[[ $(lazyclone info "$one") == *"quota      16.0 MiB"* ]]
	truncate -s 64M "$disk"
	head -c 40M /dev/urandom >"$VM_DIR/fill"
	run dd if="$VM_DIR/fill" of="$disk" bs=1M conv=notrunc,fsync status=none
	[ "$status" -ne 0 ]
	[[ $output == *"No space left"* ]]
	[ "$(du -sm "$LAZYCLONE_STORE/clones/$one" | cut -f1)" -le 17 ]
	# Others are not concerned, nor are reads.
	lazyclone -q clone "$web" "$two"
	cp "$VM_DIR/fill" "$VM_DIR/two"
	dd if="$VM_DIR/fill" of="$VM_MOUNT/$two/vda.raw" bs=1M count=8 conv=notrunc,fsync status=none
	cmp -n 4194304 "$disk" "$VM_DIR/fill"

	expect 0 lazyclone quota "$one" 100M
	[[ $output == "$one: quota 100"*" MiB, "*" taken" ]]
	dd if="$VM_DIR/fill" of="$disk" bs=1M conv=notrunc,fsync status=none
	cmp -n $((40 << 20)) "$disk" "$VM_DIR/fill"
	expect 0 lazyclone --json quota "$one" none
	[ "$(jq .quota_bytes <<<"$output")" = null ]
	expect 0 lazyclone quota "$one"
	[[ $output == "$one: quota none, "* ]]
	expect 2 lazyclone quota "$one" much
	expect 2 lazyclone quota "$one" 1K
	says "at least 16 MiB"
	expect 2 lazyclone clone --quota 1K "$web" "$VM_PREFIX-three"
	expect 3 lazyclone quota "$VM_PREFIX-nobody" 1G
	lazyclone rm "$one" "$two" >/dev/null
	rm "$VM_DIR/fill" "$VM_DIR/two"
}

@test "a guest that reaches its quota pauses, and goes on when it is raised" {
	local real=$VM_PREFIX-real guest=$VM_PREFIX-guest
	vm_define "$real" lazyclone.write=64
	lazyclone -q clone --quota 32M "$real" "$guest"
	vm_start "$guest"
	is_paused() { [ "$(virsh domstate "$guest")" = paused ]; }
	vm_until "$VM_WAIT_SEC" is_paused
	virsh domblkerror "$guest" | grep 'vda: no space'
	expect 0 lazyclone quota "$guest" 1G
	virsh resume "$guest" >/dev/null
	vm_wait_off "$guest"
	vm_until 10 vm_console_shows "$guest" 'boot 1: done'
	run ! vm_console_shows "$guest" 'FAILED|I/O error'
	lazyclone rm "$guest" >/dev/null
	virsh undefine "$real" >/dev/null
	rm "$VM_DIR/$real.raw"
}

# ---- blockresize ----

@test "blockresize of a running machine: the disk grows with zeros, never shrinks" {
	local size
	lazyclone -q clone "$web" "$one"
	size=$(stat -c %s "$base")
	virsh start "$one" >/dev/null
	# Whole units of KiB, and bytes.
	virsh blockresize "$one" vda 12M >/dev/null
	[ "$(stat -c %s "$disk")" -eq $((12 << 20)) ]
	[ "$(virsh domblkinfo "$one" vda | awk '/Capacity/ { print $2 }')" -eq $((12 << 20)) ]
	run virsh blockresize "$one" vda 4M
	[ "$status" -ne 0 ]
	[ "$(stat -c %s "$disk")" -eq $((12 << 20)) ]
	virsh destroy "$one" >/dev/null
	cmp "$disk" <(cat "$base"; head -c $(((12 << 20) - size)) /dev/zero)
	lazyclone umount
	lazyclone mount >/dev/null
	[ "$(stat -c %s "$disk")" -eq $((12 << 20)) ]
	[ "$(lazyclone --json info "$one" | jq .size_bytes)" -eq $((12 << 20)) ]
	expect 0 lazyclone hydrate "$one"
	cmp "$VM_DIR/$one.raw" <(cat "$base"; head -c $(((12 << 20) - size)) /dev/zero)
	virsh undefine "$one" >/dev/null
	rm "$VM_DIR/$one.raw"
}
