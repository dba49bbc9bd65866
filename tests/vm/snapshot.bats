#!/usr/bin/env bats
# snapshot.bats: snapshots of clones, off and running; killed, failing and interrupted at each step.

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
	before=$(tiny_left)
}

teardown() {
	tiny_unchanged
}


# write TEXT [CLONE]: where data and hole of the original meet.
write() { printf '%s' "$1" | dd of="$VM_MOUNT/${2:-$one}/vda.raw" bs=1 seek=2097000 conv=notrunc status=none; }

snapshots() { lazyclone --json snapshot "$one" --list | jq -r '.[].name' | tr '\n' ' '; }
copies() { find "$LAZYCLONE_STORE/clones/$one" -name 'nvram.*' ! -name '*.pristine' | wc -l; }

@test "a snapshot keeps what the disk held, and the clone goes on" {
	lazyclone -q clone "$web" "$one"
	write first
	cp "$disk" "$VM_DIR/first"
	expect 0 lazyclone snapshot "$one" s1
	[[ $output == "$one: snapshot s1 of 1 disk in "* ]]
	cmp "$disk" "$VM_DIR/first"
	write second
	cp "$disk" "$VM_DIR/second"
	expect 0 lazyclone --json snapshot "$one" s2
	[ "$(jq -r '.snapshot, .disks, .quiesced' <<<"$output" | tr '\n' ' ')" = "s2 1 false " ]
	write third
	[ "$(snapshots)" = "s1 s2 " ]
	[ "$(lazyclone --json info "$one" | jq -c '[.depth, (.layers | map(.snapshot))]')" = \
		'[2,["s2","s1"]]' ]
	[[ $(lazyclone snapshot "$one" --list) == *SNAPSHOT*s1*s2* ]]

	expect 0 lazyclone clone "$one" "$two" --snapshot s1
	cmp "$VM_MOUNT/$two/vda.raw" "$VM_DIR/first"
	expect 0 lazyclone rm "$two"
	expect 0 lazyclone clone "$one" "$two" --snapshot s2
	cmp "$VM_MOUNT/$two/vda.raw" "$VM_DIR/second"
	expect 0 lazyclone rm "$two" "$one"
	[ -z "$(ls -A "$LAZYCLONE_STORE/layers" 2>/dev/null)" ]
	rm "$VM_DIR"/{first,second}
}

@test "it survives the daemon, and power it off and on again" {
	lazyclone -q clone "$web" "$one"
	write first
	cp "$disk" "$VM_DIR/first"
	lazyclone snapshot "$one" s1 >/dev/null
	write second
	lazyclone umount
	lazyclone mount >/dev/null
	lazyclone -q clone "$one" "$two" --snapshot s1
	cmp "$VM_MOUNT/$two/vda.raw" "$VM_DIR/first"
	lazyclone rm "$two" "$one" >/dev/null
	rm "$VM_DIR/first"
}

@test "refused: a name that is taken or none, a clone that is none, wrong usage" {
	lazyclone -q clone "$web" "$one"
	lazyclone snapshot "$one" s1 >/dev/null
	expect 4 lazyclone snapshot "$one" s1
	says "snapshot called s1 already"
	expect 2 lazyclone snapshot "$one" a/b
	says "a/b"
	expect 2 lazyclone snapshot "$one"
	says "NAME is missing"
	expect 2 lazyclone snapshot "$one" s2 --list
	expect 2 lazyclone snapshot "$one" --list --delete s1
	expect 3 lazyclone snapshot "$VM_PREFIX-nobody" s1
	expect 3 lazyclone snapshot "$one" --delete s2
	says "no snapshot called s2"
	expect 5 lazyclone snapshot "$web" s1
	says "not a clone of this store"
	expect 3 lazyclone clone "$one" "$two" --snapshot s2
	expect 10 lazyclone clone "$web" "$two" --snapshot s1
	says "no clone"
	[ "$(snapshots)" = "s1 " ]
	[ "$(copies)" -eq 1 ]
	lazyclone rm "$one" >/dev/null
}

@test "delete forgets the name; the layer goes with the last who needs it" {
	lazyclone -q clone "$web" "$one"
	write first
	lazyclone snapshot "$one" s1 >/dev/null
	write second
	lazyclone snapshot "$one" s2 >/dev/null
	cp "$disk" "$VM_DIR/second"
	expect 0 lazyclone snapshot "$one" --delete s2
	[ "$(snapshots)" = "s1 " ]
	cmp "$disk" "$VM_DIR/second"
	# The machine still reads through it: its NVRAM is what a reset goes back to.
	[ "$(copies)" -eq 2 ]
	lazyclone -q clone "$one" "$two" --snapshot s1
	[ "$(lazyclone --json info "$one" | jq -c '.layers | map(.needed_by)')" = "[[],[\"$two\"]]" ]
	lazyclone rm "$one" >/dev/null
	[ "$(find "$LAZYCLONE_STORE/layers" -name '*.log' | wc -l)" -eq 1 ]
	lazyclone rm "$two" >/dev/null
	[ -z "$(ls -A "$LAZYCLONE_STORE/layers")" ]
	rm "$VM_DIR/second"
}

@test "of a running machine; without an agent --quiesce says so and takes none" {
	lazyclone -q clone "$web" "$one"
	write first
	virsh start "$one" >/dev/null
	expect 0 lazyclone snapshot "$one" s1
	expect 10 lazyclone snapshot --quiesce "$one" s2
	says "agent"
	[ "$(snapshots)" = "s1 " ]
	[ "$(copies)" -eq 1 ]
	[ -z "$(ls -A "$LAZYCLONE_STORE/journal")" ]
	[ "$(virsh domstate "$one")" = running ]
	# A machine that is off has nothing to freeze.
	virsh destroy "$one" >/dev/null
	expect 0 lazyclone --json snapshot --quiesce "$one" s2
	[ "$(jq .quiesced <<<"$output")" = false ]
	expect 0 lazyclone rm "$one"
}

# ---- at each step ----

# A clone that wrote; whatever it wrote before is gone.
steps_before() {
	lazyclone -q reset --force --to-base "$one" >/dev/null || return 1
	write "step $steps"
	cp "$disk" "$VM_DIR/expected"
	cp "$nvram" "$VM_DIR/nvram"
}

# There, or not at all; the machine as it was either way, and nothing left over.
snapshot_or_none() {
	cmp "$disk" "$VM_DIR/expected" && cmp "$nvram" "$VM_DIR/nvram" || return 1
	case $(snapshots) in
	'') none=$((none + 1)) ;;
	's1 ')
		there=$((there + 1))
		lazyclone -q clone "$one" "$two" --snapshot s1 || return 1
		cmp "$VM_MOUNT/$two/vda.raw" "$VM_DIR/expected" || return 1
		cmp "/var/lib/libvirt/qemu/nvram/${two}_VARS.fd" "$VM_DIR/nvram" || return 1
		lazyclone rm "$two" >/dev/null || return 1
		;;
	*) return 1 ;;
	esac
	# Made now, if not before, it has one copy: what a killed one kept is gone.
	[ -n "$(snapshots)" ] || lazyclone snapshot "$one" s1 >/dev/null || return 1
	[ "$(copies)" -eq 1 ] && [ -z "$(ls -A "$LAZYCLONE_STORE/journal")" ]
}

each_step() {
	none=0
	there=0
	lazyclone -q clone "$web" "$one"
	steps_each "$1" "$2" snapshot "$one" s1
	lazyclone rm "$one" >/dev/null
	echo "$steps steps: $none none, $there there"
}

after_next() { next_command && snapshot_or_none; }

@test "killed at each step: a snapshot or none, nothing left over" {
	each_step kill after_next
	[ "$none" -gt 5 ]
}

@test "killed while the daemon takes it: it is there, with its NVRAM" {
	none=0
	there=0
	lazyclone -q clone "$web" "$one"
	is_there() { [ "$(snapshots)" = "s1 " ]; }
	for ((steps = 1; ; steps++)); do
		steps_before
		STOPAT_CALL=recv steps_run "$steps" kill snapshot "$one" s1
		[ "$step" = recv ]
		! vm_until 2 is_there || break
	done
	after_next
	[ "$there" -eq 1 ]
	lazyclone rm "$one" >/dev/null
}

@test "with each step failing: the same" {
	each_step fail after_next
	[ "$none" -gt 5 ]
}

@test "interrupted at each step: the same, and the status says which" {
	as_said() {
		if [ "$code" -eq 0 ]; then
			[ "$(snapshots)" = "s1 " ] || return 1
		else
			[ -z "$(snapshots)" ] || return 1
		fi
		snapshot_or_none
	}
	each_step int as_said
	[ "$none" -ge 1 ] && [ "$there" -ge 1 ]
}

# ---- a real guest with an agent ----

has_agent() {
	virsh undefine "$1" >/dev/null
	vm_xml "$1" "$VM_DIR/$1.raw" lazyclone.stay lazyclone.write=1 | sed \
		"s|</devices>|<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices>|" \
		>"$VM_DIR/$1.xml"
	virsh define "$VM_DIR/$1.xml" >/dev/null
}

needs_recovery() { dumpe2fs -h "$VM_MOUNT/$1/vda.raw" 2>/dev/null | grep -q needs_recovery; }

@test "quiesced, a running guest's file system is as if it had been unmounted; killed, it is thawed" {
	local real=$VM_PREFIX-real guest=$VM_PREFIX-guest
	vm_define "$real"
	has_agent "$real"
	lazyclone -q clone "$real" "$guest"
	vm_start "$guest"
	vm_wait_console "$guest" 'boot 1: done'
	vm_until 30 virsh qemu-agent-command "$guest" '{"execute": "guest-sync", "arguments": {"id": 1}}'

	expect 0 lazyclone --json snapshot --quiesce "$guest" quiet
	[ "$(jq .quiesced <<<"$output")" = true ]
	vm_wait_console "$guest" 'lazyclone-guest: thawed'
	expect 0 lazyclone snapshot "$guest" loud
	lazyclone -q clone "$guest" "$one" --snapshot quiet
	lazyclone -q clone "$guest" "$two" --snapshot loud
	run ! needs_recovery "$one"
	needs_recovery "$two"
	e2fsck -fn "$VM_MOUNT/$one/vda.raw"

	# Killed while the guest is frozen: the next command thaws it.
	said() { [ "$(grep -c "lazyclone-guest: $1" "$VM_DIR/$guest.console")" -eq "$2" ]; }
	steps_kill virDomainFSThaw 1 snapshot --quiesce "$guest" killed
	vm_until 10 said frozen 2
	said thawed 1
	[ "$(find "$LAZYCLONE_STORE/journal" -name '*.json' | wc -l)" -eq 1 ]
	next_command
	vm_until 10 said thawed 2
	[ -z "$(ls -A "$LAZYCLONE_STORE/journal")" ]
	lazyclone rm --force "$guest" "$one" "$two" >/dev/null
	virsh undefine "$real" >/dev/null
	rm "$VM_DIR/$real.raw" "$VM_DIR/$real.xml"
}

# ---- two disks ----

# One number after the other, on the first disk and then on the second, until told to stop.
count_on_both() {
	local n=0
	while [ ! -e "$VM_DIR/stop" ]; do
		n=$((n + 1))
		printf '%08d' $n | dd of="$VM_MOUNT/$one/vda.raw" bs=8 conv=notrunc status=none &&
			printf '%08d' $n | dd of="$VM_MOUNT/$one/vdb.raw" bs=8 conv=notrunc status=none || return 1
		echo $n >"$VM_DIR/counted"
	done
}

number() { echo $((10#$(head -c 8 "$VM_MOUNT/$1/$2.raw"))); }
counted_to() { [ "$(cat "$VM_DIR/counted" 2>/dev/null || echo 0)" -ge "$1" ]; }

@test "of two disks in use: both at one instant" {
	local both=$VM_PREFIX-both a b counter
	head -c 1M /dev/urandom >"$VM_DIR/second.raw"
	tiny_define "$both"
	virsh dumpxml "$both" | sed "s|</disk>|&<disk type='file' device='disk'>\
<driver name='qemu' type='raw'/><source file='$VM_DIR/second.raw'/>\
<target dev='vdb' bus='virtio'/></disk>|" >"$VM_DIR/both.xml"
	virsh define "$VM_DIR/both.xml" >/dev/null
	lazyclone -q clone "$both" "$one"
	count_on_both 3>&- &
	counter=$!
	for i in 1 2 3 4 5 6 7 8; do
		vm_until 30 counted_to $((i * 10))
		expect 0 lazyclone snapshot "$one" "s$i"
	done
	touch "$VM_DIR/stop"
	wait "$counter"
	for i in 1 2 3 4 5 6 7 8; do
		lazyclone -q clone "$one" "$two" --snapshot "s$i" >/dev/null
		a=$(number "$two" vda)
		b=$(number "$two" vdb)
		echo "snapshot s$i: $a on the first disk, $b on the second"
		[ "$a" -ge $((i * 10)) ]
		[ "$a" -eq "$b" ] || [ "$a" -eq $((b + 1)) ]
		lazyclone rm "$two" >/dev/null
	done
	lazyclone rm "$one" >/dev/null
	virsh undefine "$both" >/dev/null
	rm "$VM_DIR"/{second.raw,both.xml,stop,counted,"$both.raw"}
}
