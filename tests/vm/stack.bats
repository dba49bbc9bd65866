#!/usr/bin/env bats
# stack.bats: clones of clones: what they share, what they never see, real guests on them.

# shellcheck disable=SC2154 # set by run, and by steps.bash
bats_require_minimum_version 1.5.0
load helper
load tiny
load steps

setup_file() {
	vm_setup_file
	steps_define "$VM_PREFIX-web"
	lazyclone mount >/dev/null
	sha256sum "$VM_DIR/$VM_PREFIX-web.raw" >"$VM_DIR/base.sha256"
}

# The bytes of the original are what they were, after all of it.
teardown_file() {
	local rc=0
	[ -z "${VM_DIR:-}" ] || sha256sum --quiet -c "$VM_DIR/base.sha256" || rc=1
	vm_teardown_file
	return "$rc"
}

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	two=$VM_PREFIX-two
	three=$VM_PREFIX-three
	base=$VM_DIR/$web.raw
	before=$(tiny_left)
}

teardown() {
	tiny_unchanged
}

disk() { echo "$VM_MOUNT/$1/vda.raw"; }
nvram() { echo "/var/lib/libvirt/qemu/nvram/${1}_VARS.fd"; }
layers() { find "$LAZYCLONE_STORE/layers" -name '*.log' | wc -l; }
depth() { lazyclone --json info "$1" | jq .depth; }

# write CLONE TEXT [AT]: by default where data and hole of the original meet.
write() {
	printf '%s' "$2" | dd of="$(disk "$1")" bs=1 seek="${3:-2097000}" conv=notrunc status=none
}

@test "a clone of a clone has what its source wrote, and neither sees the other's writes" {
	lazyclone -q clone "$web" "$one"
	write "$one" "of one"
	printf 'of one' | dd of="$(nvram "$one")" conv=notrunc status=none
	cp "$(disk "$one")" "$VM_DIR/one"
	expect 0 lazyclone clone "$one" "$two"
	[[ $output == "$two: cloned in "*" of $base"* ]]
	[ -z "$stderr" ]
	cmp "$(disk "$two")" "$VM_DIR/one"
	cmp "$(disk "$one")" "$VM_DIR/one"
	cmp "$(nvram "$two")" "$(nvram "$one")"
	[ "$(depth "$one") $(depth "$two") $(layers)" = "1 1 1" ]
	virsh dumpxml "$two" | grep -F "$(disk "$two")"
	virsh dumpxml "$two" | grep -F "source=\"$one\"" || virsh dumpxml "$two" | grep -F "source='$one'"

	expect 0 lazyclone clone "$one" "$three"
	# Nothing written in between: nothing to freeze.
	[ "$(depth "$one") $(depth "$three") $(layers)" = "1 1 1" ]
	for clone in "$one" "$two" "$three"; do
		cp "$(disk "$clone")" "$VM_DIR/$clone.expected"
		for file in "$(disk "$clone")" "$VM_DIR/$clone.expected"; do
			printf '%s' "$clone" | dd of="$file" bs=1 seek=100 conv=notrunc status=none
			printf '%s' "$clone" | dd of="$file" bs=1 seek=5000000 conv=notrunc status=none
		done
	done
	fallocate -p -o 1048576 -l 8192 "$(disk "$two")"
	dd if=/dev/zero of="$VM_DIR/$two.expected" bs=4096 seek=256 count=2 conv=notrunc status=none
	lazyclone umount
	lazyclone mount >/dev/null
	for clone in "$one" "$two" "$three"; do
		cmp "$(disk "$clone")" "$VM_DIR/$clone.expected"
		lazyclone rm "$clone" >/dev/null
	done
	[ "$(layers)" -eq 0 ]
	rm "$VM_DIR"/*.expected "$VM_DIR/one"
}

# The daemon, mounted anew, begins to hold the base: what is kept from starting is not the clone.
@test "a clone that is cloned is not said to be kept from starting, but for a disk of its own" {
	lazyclone -q clone "$web" "$one"
	lazyclone umount
	lazyclone mount >/dev/null
	expect 0 lazyclone clone "$one" "$two"
	[ -z "$stderr" ]
	virsh start "$one"
	virsh destroy "$one"

	head -c 1M /dev/urandom >"$VM_DIR/added.raw"
	virsh attach-disk "$one" "$VM_DIR/added.raw" vdb --config --subdriver raw
	expect 0 lazyclone clone --base protect "$one" "$three"
	[[ $stderr == "lazyclone: $one cannot be started as long as its clones need its images: start a clone instead" ]]
	run virsh start "$one"
	[ "$status" -ne 0 ]
	expect 0 lazyclone rm "$three" "$two" "$one"
	rm "$VM_DIR/added.raw"
}

@test "info and list say how deep, and who else needs a layer" {
	lazyclone -q clone "$web" "$one"
	write "$one" "of one"
	lazyclone -q clone "$one" "$two"
	write "$two" "of two"
	lazyclone -q clone "$two" "$three"
	[ "$(depth "$one") $(depth "$two") $(depth "$three")" = "1 2 2" ]
	[ "$(lazyclone --json info "$one" | jq -c '.layers[0].needed_by')" = \
		"$(printf '["%s","%s"]' "$three" "$two")" ]
	[ "$(lazyclone --json info "$two" | jq -c '.layers | map(.needed_by)')" = \
		"$(printf '[["%s"],["%s","%s"]]' "$three" "$one" "$three")" ]
	[ "$(lazyclone --json info "$two" | jq '.layers | map(.bytes) | min')" -gt 0 ]
	[[ $(lazyclone info "$three") == *"layers     2 of 32"*"ALSO NEEDED BY"*"$one, $two"* ]]
	[[ $(lazyclone list) == *LAYERS*SNAPSHOTS* ]]
	[ "$(lazyclone --json list | jq -c 'map(.depth)')" = '[1,2,2]' ]
	[ "$(lazyclone --json info "$three" | jq -r .source)" = "$two" ]
	lazyclone rm "$one" "$two" "$three" >/dev/null
}

@test "rm of the sources leaves what the last clone reads, and the original stays held" {
	lazyclone -q clone "$web" "$one"
	write "$one" "of one"
	lazyclone -q clone "$one" "$two"
	write "$two" "of two" 100
	lazyclone -q clone "$two" "$three"
	cp "$(disk "$three")" "$VM_DIR/three"
	expect 0 lazyclone rm "$one" "$two"
	cmp "$(disk "$three")" "$VM_DIR/three"
	[ "$(layers)" -eq 2 ]
	lazyclone umount
	lazyclone mount >/dev/null
	cmp "$(disk "$three")" "$VM_DIR/three"
	run virsh start "$web"
	[ "$status" -ne 0 ]
	expect 0 lazyclone hydrate "$three"
	cmp "$VM_DIR/$three.raw" "$VM_DIR/three"
	[ "$(layers)" -eq 0 ]
	virsh start "$web" >/dev/null
	virsh destroy "$web" >/dev/null
	virsh undefine --nvram "$three" >/dev/null
	rm "$VM_DIR/three" "$VM_DIR/$three.raw"
}

@test "several of one clone; a dry run freezes nothing" {
	lazyclone -q clone "$web" "$one"
	write "$one" "of one"
	expect 0 lazyclone clone --dry-run "$one" "$two"
	[[ $output == "$two: would be made"*"$(disk "$two")"* ]]
	[ "$(depth "$one") $(layers)" = "0 0" ]
	[ ! -e "$LAZYCLONE_STORE/clones/$two" ]
	expect 0 lazyclone clone -N 3 "$one" "$two"
	for clone in "$two"1 "$two"2 "$two"3; do
		cmp "$(disk "$clone")" "$(disk "$one")"
	done
	[ "$(layers)" -eq 1 ]
	expect 0 lazyclone clone "$one"
	cmp "$(disk "$one-clone1")" "$(disk "$one")"
	expect 0 lazyclone rm "$one" "$two"1 "$two"2 "$two"3 "$one-clone1"
}

@test "refused: a source that runs, is of another store, or is on its full image" {
	lazyclone -q clone "$web" "$one"
	virsh start "$one" >/dev/null
	expect 4 lazyclone clone "$one" "$two"
	says "is running"
	[[ $stderr == *"hint: "*"--snapshot"* ]]
	virsh destroy "$one" >/dev/null
	expect 10 lazyclone --store "$VM_DIR/other" clone "$one" "$two"
	says "another store"
	[[ $stderr == *"hint: "*"--store $LAZYCLONE_STORE"* ]]
	expect 10 lazyclone clone --disk-only "$(disk "$one")" "$two"
	[ "$(depth "$one")" -eq 0 ]
	lazyclone rm "$one" >/dev/null
	rm -rf "$VM_DIR/other"
}

@test "another command at work on the source: refused, and the other way round" {
	lazyclone -q clone "$web" "$one"
	steps_halt virDomainDefineXMLFlags 1 clone "$one" "$two"
	for verb in rm reset hydrate; do
		expect 4 lazyclone "$verb" "$one"
		says "another lazyclone command"
	done
	expect 4 lazyclone snapshot "$one" s1
	expect 4 lazyclone clone "$one" "$three"
	steps_resume
	[ "$code" -eq 0 ]
	cmp "$(disk "$two")" "$base"
	lazyclone rm "$one" "$two" >/dev/null
}

@test "too many layers are refused with the way out, and nothing is lost" {
	lazyclone -q clone "$web" "$one"
	for ((i = 1; i <= 32; i++)); do
		write "$one" "layer $i" $((i * 8192))
		lazyclone -q snapshot "$one" "s$i" >/dev/null
	done
	write "$one" "on top"
	cp "$(disk "$one")" "$VM_DIR/one"
	expect 1 lazyclone snapshot "$one" s33
	[[ $stderr == *"hint: "*"32 at most"*hydrate* ]]
	expect 1 lazyclone clone "$one" "$two"
	[[ $stderr == *"hint: "*"32 at most"*hydrate* ]]
	[ ! -e "$LAZYCLONE_STORE/clones/$two" ]
	# What is frozen already can be cloned.
	expect 0 lazyclone clone "$one" "$two" --snapshot s32
	[ "$(depth "$two")" -eq 32 ]
	cmp "$(disk "$one")" "$VM_DIR/one"
	expect 0 lazyclone rm "$two"
	expect 0 lazyclone hydrate "$one"
	cmp "$VM_DIR/$one.raw" "$VM_DIR/one"
	[ "$(layers)" -eq 0 ]
	virsh undefine --nvram "$one" >/dev/null
	rm "$VM_DIR/one" "$VM_DIR/$one.raw"
}

@test "a disk that was enlarged: the clone has the new size, and nothing of the base behind it" {
	lazyclone -q clone "$web" "$one"
	truncate -s 9M "$(disk "$one")"
	write "$one" "behind the base" 8000000
	cp "$(disk "$one")" "$VM_DIR/one"
	lazyclone -q clone "$one" "$two"
	cmp "$(disk "$two")" "$VM_DIR/one"
	lazyclone -q reset --to-base "$two" >/dev/null
	[ "$(stat -c %s "$(disk "$two")")" -eq $((9 << 20)) ]
	cmp "$(disk "$two")" <(cat "$base"; head -c $(((9 << 20) - $(stat -c %s "$base"))) /dev/zero)
	lazyclone rm "$one" "$two" >/dev/null
	rm "$VM_DIR/one"
}

# ---- at each step ----

steps_before() {
	lazyclone -q reset --to-base "$one" >/dev/null || return 1
	write "$one" "step $steps"
	cp "$(disk "$one")" "$VM_DIR/expected"
}

# The source has its bytes; the clone is whole, or not there at all.
whole_or_nothing() {
	cmp "$(disk "$one")" "$VM_DIR/expected" || return 1
	find "$LAZYCLONE_STORE"/{journal,staging,trash} -mindepth 1 | grep . && return 1
	if virsh domstate "$two" >/dev/null 2>&1; then
		whole=$((whole + 1))
		cmp "$(disk "$two")" "$VM_DIR/expected" && cmp "$(nvram "$two")" "$(nvram "$one")" &&
			lazyclone rm "$two" >/dev/null || return 1
	else
		nothing=$((nothing + 1))
	fi
	[ ! -e "$LAZYCLONE_STORE/clones/$two" ] && [ ! -e "$(nvram "$two")" ]
}

after_next() { next_command && whole_or_nothing; }

each_step() {
	whole=0
	nothing=0
	lazyclone -q clone "$web" "$one"
	steps_each "$1" after_next clone "$one" "$two"
	lazyclone rm "$one" "$two" >/dev/null
	[ "$(layers)" -eq 0 ]
	rm "$VM_DIR/expected"
	echo "$steps steps: $nothing undone, $whole whole"
}

@test "killed at each step: nothing, or a whole clone, and the source as it was" {
	each_step kill
	[ "$steps" -gt 30 ] && [ "$nothing" -gt 20 ] && [ "$whole" -ge 1 ]
}

@test "with each step failing: the same" {
	each_step fail
	[ "$steps" -gt 30 ] && [ "$nothing" -gt 20 ]
}

# ---- real guests ----

written() { vm_log "$1" | sed -n 's/.* wrote .*sha256=//p'; }

# Its clones begin with what it wrote, and never see each other's files.
@test "real guests on clones of a clone, and on a snapshot of one that runs" {
	local real=$VM_PREFIX-real master=$VM_PREFIX-master
	vm_define "$real" lazyclone.write=4 lazyclone.stay
	boot() {
		rm -f "$VM_DIR/$1.console"
		vm_start "$1" && vm_wait_console "$1" "boot $2: done" || return 1
		! vm_console_shows "$1" 'FAILED|read-only|I/O error' || return 1
	}
	lazyclone -q clone "$real" "$master"
	boot "$master" 1
	# While it runs.
	expect 0 lazyclone snapshot "$master" installed
	expect 0 lazyclone clone "$master" "$three" --snapshot installed
	boot "$three" 2
	grep 'boot 2: read back OK' "$VM_DIR/$three.console"
	virsh destroy "$three" >/dev/null
	[ "$(virsh domstate "$master")" = running ]
	virsh destroy "$master" >/dev/null

	lazyclone -q clone -N 2 "$master" "$VM_PREFIX-test"
	boot "$VM_PREFIX-test1" 2
	boot "$VM_PREFIX-test2" 2
	for clone in "$VM_PREFIX-test1" "$VM_PREFIX-test2"; do
		grep 'boot 2: read back OK' "$VM_DIR/$clone.console"
		virsh destroy "$clone" >/dev/null
	done
	for clone in "$VM_PREFIX-test1" "$VM_PREFIX-test2" "$three"; do
		[ "$(written "$(disk "$clone")" | wc -l)" -eq 2 ]
		[ "$(written "$(disk "$clone")" | head -n 1)" = "$(written "$(disk "$master")")" ]
	done
	[ "$(written "$(disk "$VM_PREFIX-test1")" | tail -n 1)" != \
		"$(written "$(disk "$VM_PREFIX-test2")" | tail -n 1)" ]
	# As if it had never been.
	expect 0 lazyclone reset --start --force "$VM_PREFIX-test1"
	virsh destroy "$VM_PREFIX-test1" >/dev/null
	lazyclone reset "$VM_PREFIX-test1" >/dev/null
	cmp "$(disk "$VM_PREFIX-test1")" "$(disk "$master")"
	expect 0 lazyclone check "$VM_PREFIX-test1" "$VM_PREFIX-test2" "$three" "$master"
	lazyclone rm "$master" "$three" "$VM_PREFIX-test1" "$VM_PREFIX-test2" >/dev/null
	virsh undefine "$real" >/dev/null
	rm "$VM_DIR/$real.raw"
}
