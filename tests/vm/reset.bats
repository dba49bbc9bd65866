#!/usr/bin/env bats
# reset.bats: back to a snapshot, a layer or the base, disks and NVRAM together; at each step too.

# shellcheck disable=SC2154 # set by run, and by steps.bash
bats_require_minimum_version 1.5.0
load helper
load tiny
load steps

setup_file() {
	vm_setup_file
	steps_define "$VM_PREFIX-web"
	lazyclone mount >/dev/null
}

teardown_file() { vm_teardown_file; }

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	two=$VM_PREFIX-two
	nvram=/var/lib/libvirt/qemu/nvram/${one}_VARS.fd
	disk=$VM_MOUNT/$one/vda.raw
	base=$VM_DIR/$web.raw
	before=$(tiny_left)
}

teardown() {
	tiny_unchanged
}


# Both, as a running machine would change them.
write() {
	printf '%s' "$1" | dd of="$disk" bs=1 seek=2097000 conv=notrunc status=none
	printf '%s' "$1" | dd of="$nvram" bs=1 seek=4096 conv=notrunc status=none
}

keep() { cp "$disk" "$VM_DIR/$1.disk" && cp "$nvram" "$VM_DIR/$1.nvram"; }
is() { cmp "$disk" "$VM_DIR/$1.disk" && cmp "$nvram" "$VM_DIR/$1.nvram"; }
is_cloned() { cmp "$disk" "$base" && cmp "$nvram" "$VM_DIR/${web}_VARS.fd"; }
forget() { rm -f "$VM_DIR"/*.disk "$VM_DIR"/*.nvram; }

@test "the bytes of before come back, and the NVRAM with its owner and mode" {
	lazyclone -q clone "$web" "$one"
	chown 4711:4712 "$nvram"
	was=$(stat -c '%u:%g %a' "$nvram")
	write changed
	run ! is_cloned
	expect 0 lazyclone --json reset "$one"
	is_cloned
	[ "$(stat -c '%u:%g %a' "$nvram")" = "$was" ]
	[ "$(jq -c '.[0] | [.reset, .started, .error]' <<<"$output")" = '[true,false,null]' ]
	ms=$(jq '.[0].reset_ns / 1000000 | floor' <<<"$output")
	echo "reset took $ms ms"
	[ "$ms" -lt 1000 ]
	# Nothing to throw away is no error.
	expect 0 lazyclone reset "$one"
	is_cloned
	lazyclone rm "$one" >/dev/null
}

@test "a big delta goes as fast as a small one, and its space comes back" {
	lazyclone -q clone "$web" "$one"
	dd if=/dev/urandom of="$disk" bs=1M count=6 conv=notrunc status=none
	sync "$disk"
	[ "$(lazyclone --json info "$one" | jq .delta_bytes)" -gt 6000000 ]
	expect 0 lazyclone reset "$one"
	is_cloned
	[ "$(lazyclone --json info "$one" | jq .delta_bytes)" -lt 1000000 ]
	[ "$(du -sk "$LAZYCLONE_STORE/clones/$one" | cut -f1)" -lt 1000 ]
	lazyclone rm "$one" >/dev/null
}

@test "back to the newest layer, to a snapshot, to the base" {
	lazyclone -q clone "$web" "$one"
	write first; keep first
	lazyclone snapshot "$one" s1 >/dev/null
	write second; keep second
	lazyclone snapshot "$one" s2 >/dev/null
	write third
	expect 0 lazyclone reset "$one"
	is second
	# Going back further would drop s2.
	expect 4 lazyclone reset "$one" --to s1
	says "s2"
	is second
	expect 4 lazyclone reset "$one" --to-base
	expect 3 lazyclone reset "$one" --to s3
	says "no snapshot called s3"
	expect 2 lazyclone reset "$one" --to s1 --to-base
	write third
	expect 0 lazyclone reset "$one" --to s2
	is second
	expect 0 lazyclone reset "$one" --to s1 --force
	is first
	[ "$(lazyclone --json snapshot "$one" --list | jq -c 'map(.name)')" = '["s1"]' ]
	write fourth
	expect 0 lazyclone reset "$one"
	is first
	expect 0 lazyclone reset "$one" --to-base --force
	is_cloned
	[ -z "$(ls -A "$LAZYCLONE_STORE/layers")" ]
	[ "$(find "$LAZYCLONE_STORE/clones/$one" -name 'nvram.*' | wc -l)" -eq 1 ]
	lazyclone rm "$one" >/dev/null
	forget
}

@test "what a clone of it needs stays, whatever the source is reset to" {
	lazyclone -q clone "$web" "$one"
	write first; keep first
	lazyclone -q clone "$one" "$two"
	write second
	expect 0 lazyclone reset "$one"
	is first
	expect 0 lazyclone reset "$one" --to-base
	is_cloned
	cmp "$VM_MOUNT/$two/vda.raw" "$VM_DIR/first.disk"
	cmp "/var/lib/libvirt/qemu/nvram/${two}_VARS.fd" "$VM_DIR/first.nvram"
	# The clone's own base is the original, NVRAM included.
	expect 0 lazyclone reset "$two"
	cmp "$VM_MOUNT/$two/vda.raw" "$VM_DIR/first.disk"
	expect 0 lazyclone reset "$two" --to-base
	cmp "$VM_MOUNT/$two/vda.raw" "$base"
	cmp "/var/lib/libvirt/qemu/nvram/${two}_VARS.fd" "$VM_DIR/${web}_VARS.fd"
	lazyclone rm "$one" "$two" >/dev/null
	forget
}

@test "a machine that had no NVRAM file yet has none again" {
	mv "$VM_DIR/${web}_VARS.fd" "$VM_DIR/away"
	lazyclone -q clone "$web" "$one"
	mv "$VM_DIR/away" "$VM_DIR/${web}_VARS.fd"
	[ ! -e "$nvram" ]
	head -c 128K /dev/urandom >"$nvram"
	expect 0 lazyclone reset "$one"
	[ ! -e "$nvram" ]
	cmp "$disk" "$base"
	lazyclone rm "$one" >/dev/null
}

@test "a disk alone cannot be started: nothing is thrown away" {
	lazyclone -q clone --disk-only "$base" "$one" >/dev/null
	printf 'kept' | dd of="$VM_MOUNT/$one/disk.raw" conv=notrunc status=none
	expect 2 lazyclone reset --start "$one"
	says "a disk alone"
	[ "$(head -c 4 "$VM_MOUNT/$one/disk.raw")" = kept ]
	expect 0 lazyclone reset "$one"
	cmp "$VM_MOUNT/$one/disk.raw" "$base" -n 4096
	lazyclone rm "$one" >/dev/null
}

@test "a running clone is refused, or powered off with --force and started with --start" {
	lazyclone -q clone "$web" "$one"
	write changed
	virsh start "$one" >/dev/null
	expect 4 lazyclone reset "$one"
	says "is running"
	[ "$(virsh domstate "$one")" = running ]
	expect 0 lazyclone reset --force --start "$one"
	[[ $output == *", started" ]]
	[ "$(virsh domstate "$one")" = running ]
	cmp "$disk" "$base"
	expect 0 lazyclone reset --force "$one"
	[ "$(virsh domstate "$one")" = "shut off" ]
	is_cloned
	lazyclone rm "$one" >/dev/null
}

@test "several: each is tried, 8 if some failed; what is not ours is refused" {
	lazyclone -q clone "$web" "$one"
	lazyclone -q clone "$web" "$two"
	write changed
	expect 8 lazyclone reset "$one" "$VM_PREFIX-nobody" "$two"
	[[ $output == *"$one: reset in "*"$two: reset in "* ]]
	is_cloned
	expect 5 lazyclone reset --force "$web"
	says "not a clone of this store"
	# Its mark is gone: somebody else's machine by now.
	virsh dumpxml "$two" | sed '/<lazyclone:clone/d' >"$VM_DIR/two.xml"
	virsh define "$VM_DIR/two.xml" >/dev/null
	expect 5 lazyclone reset --force "$two"
	virsh undefine --keep-nvram "$two" >/dev/null
	expect 3 lazyclone reset "$two"
	says "its domain is gone"
	lazyclone rm "$one" "$two" >/dev/null
	rm -f "$VM_DIR/two.xml" "/var/lib/libvirt/qemu/nvram/${two}_VARS.fd"
}

@test "somebody reads the disk: refused, and all as it was" {
	lazyclone -q clone "$web" "$one"
	write changed; keep changed
	exec 7<"$disk"
	expect 4 lazyclone reset "$one"
	exec 7<&-
	is changed
	[ -z "$(ls -A "$LAZYCLONE_STORE/journal")" ]
	lazyclone rm "$one" >/dev/null
	forget
}

# ---- at each step ----

steps_before() {
	lazyclone -q reset --force --to-base "$one" >/dev/null || return 1
	write snapshot; keep old
	lazyclone snapshot "$one" s1 >/dev/null || return 1
	write "step $steps"; keep new
}

# Disk and NVRAM of the same instant, and nothing left over.
one_instant() {
	if is new 2>/dev/null; then
		as_was=$((as_was + 1))
	elif is old 2>/dev/null; then
		was_reset=$((was_reset + 1))
	else
		echo "disk and NVRAM are of two instants, or of none"
		return 1
	fi
	find /var/lib/libvirt/qemu/nvram -name "$one*lazyclone*" | grep . && return 1
	[ -z "$(ls -A "$LAZYCLONE_STORE/journal")" ]
}

each_step() {
	as_was=0
	was_reset=0
	lazyclone -q clone "$web" "$one"
	steps_each "$1" "$2" reset "$one"
	is old
	lazyclone rm "$one" >/dev/null
	forget
	echo "$steps steps: $as_was as before, $was_reset reset"
}

after_next() { next_command && one_instant; }

@test "killed at each step: as before or reset, disk and NVRAM together" {
	each_step kill after_next
	[ "$as_was" -gt 5 ] && [ "$was_reset" -gt 2 ]
}

@test "with each step failing: the same" {
	each_step fail after_next
	[ "$as_was" -gt 5 ] && [ "$was_reset" -ge 1 ]
}

@test "interrupted at each step: the same, at once, and the status says which" {
	as_said() {
		if [ "$code" -eq 0 ]; then is old || return 1; else is new || return 1; fi
		one_instant
	}
	each_step int as_said
	[ "$as_was" -ge 1 ] && [ "$was_reset" -ge 1 ]
}

# Killed when the NVRAM is about to be put back: the disks were reset.
killed_behind_the_disks() {
	lazyclone -q clone "$web" "$one"
	write changed; keep changed
	steps_kill rename 1 reset "$one"
	cmp "$disk" "$base"
	cmp "$nvram" "$VM_DIR/changed.nvram"
}

@test "killed behind the disks: the notice says that it was finished" {
	killed_behind_the_disks
	next_command
	[[ $stderr == *"finished the reset of $one that a killed run left"* ]]
	is_cloned
	lazyclone rm "$one" >/dev/null
	forget
}

@test "killed behind the disks, then started: it keeps the NVRAM that it runs on" {
	killed_behind_the_disks
	virsh start "$one" >/dev/null
	next_command
	[[ $stderr == *"keeps the one it has"* ]]
	virsh destroy "$one" >/dev/null
	cmp "$nvram" "$VM_DIR/changed.nvram"
	[ -z "$(ls -A "$LAZYCLONE_STORE/journal")" ]
	find /var/lib/libvirt/qemu/nvram -name "$one*lazyclone*" | grep . && return 1
	lazyclone rm "$one" >/dev/null
	forget
}

@test "killed behind the disks, then removed: the copy goes" {
	killed_behind_the_disks
	journal=$(find "$LAZYCLONE_STORE/journal" -name '*.json')
	mv "$journal" "$VM_DIR/journal"
	lazyclone rm "$one" >/dev/null
	mv "$VM_DIR/journal" "$journal"
	next_command
	[ -z "$(ls -A "$LAZYCLONE_STORE/journal")" ]
	forget
}

@test "killed while another command was about to take the clone: that one keeps away" {
	lazyclone -q clone "$web" "$one"
	write changed; keep changed
	# Halted when it opens the clone's lock; by then it has looked for killed runs.
	STOPAT_NAME=lock steps_halt openat64 1 snapshot "$one" s1
	steps_kill rename 1 reset "$one"
	steps_resume
	[ "$code" -eq 4 ]
	grep 'a reset of it was killed just now' "$VM_DIR/said"
	expect 0 lazyclone snapshot "$one" s1
	[[ $stderr == *"finished the reset of $one"* ]]
	is_cloned
	lazyclone rm "$one" >/dev/null
	forget
}
