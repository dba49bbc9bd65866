#!/usr/bin/env bats
# recover.bats: what a killed clone left, when the daemon, libvirt or the journal is in trouble.

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
	lazyclone mount >/dev/null
	before=$(tiny_left)
}

teardown() {
	tiny_unchanged
}


# A clone killed just before its domain is defined: all else is there.
killed_clone() {
	steps_kill virDomainDefineXMLFlags 1 clone "$web" "$one"
	[ "$(find "$LAZYCLONE_STORE/journal" -name '*.json' | wc -l)" -eq 1 ]
}

journal() { find "$LAZYCLONE_STORE/journal" -name '*.json'; }

@test "the notice says what was undone" {
	killed_clone
	next_command
	[[ $stderr == *"undid the clone $one that a killed run left"* ]]
	tiny_unchanged
}

@test "no daemon runs any more" {
	killed_clone
	[ -e "$VM_MOUNT/$one/vda.raw" ]
	lazyclone umount
	next_command
	tiny_unchanged
	lazyclone mount
	[ ! -e "$VM_MOUNT/$one" ]
}

@test "libvirt cannot be reached: all stays for the next command, which is told" {
	killed_clone
	sed -i 's|qemu:///system|qemu+unix:///system?socket=/nonexistent|' "$(journal)"
	next_command
	[[ $stderr == *"cannot be undone yet"* ]]
	[ -e "$VM_MOUNT/$one/vda.raw" ]
	[ -n "$(journal)" ]
	# Other work goes on.
	expect 0 lazyclone clone "$web" "$VM_PREFIX-two"
	expect 0 lazyclone rm "$VM_PREFIX-two"
	sed -i 's|qemu+unix:///system?socket=/nonexistent|qemu:///system|' "$(journal)"
	next_command
	tiny_unchanged
}

@test "its disk is in use: nothing is torn away, and later it is undone" {
	killed_clone
	exec 7<"$VM_MOUNT/$one/vda.raw"
	next_command
	[[ $stderr == *"cannot be undone yet"* ]]
	cmp "$VM_DIR/$web.raw" "$VM_MOUNT/$one/vda.raw"
	exec 7<&-
	next_command
	tiny_unchanged
}

@test "its NVRAM file was replaced by somebody: theirs stays" {
	local nvram=/var/lib/libvirt/qemu/nvram/${one}_VARS.fd
	killed_clone
	mv "$nvram" "$VM_DIR/old"
	echo theirs >"$nvram"
	next_command
	[ "$(cat "$nvram")" = theirs ]
	rm "$nvram" "$VM_DIR/old"
	tiny_unchanged
}

@test "the machine was started before the next command: it is finished, not undone" {
	# Killed when "done" is about to be written: the first write behind the definition.
	local last
	for ((last = 1; ; last++)); do
		steps_kill pwritev64 "$last" clone "$web" "$one"
		! virsh domstate "$one" >/dev/null 2>&1 || break
		next_command
	done
	virsh start "$one" >/dev/null
	next_command
	[[ $stderr == *"finished the clone $one that a killed run left"* ]]
	[ "$(virsh domstate "$one")" = running ]
	[ -z "$(journal)" ]
	expect 0 lazyclone rm --force "$one"
}

@test "a journal that is damaged: 12, named, with the way out" {
	killed_clone
	cp "$(journal)" "$VM_DIR/journal"
	{ echo nonsense; cat "$VM_DIR/journal"; } >"$(journal)"
	expect 12 lazyclone rm "$VM_PREFIX-nobody"
	says "$(basename "$(journal)")"
	[[ $stderr == *"hint: "*"journal/"* ]]
	cp "$VM_DIR/journal" "$(journal)"
	next_command
	tiny_unchanged
}
