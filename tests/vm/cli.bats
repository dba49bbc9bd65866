#!/usr/bin/env bats
# cli.bats: the verbs as a user meets them: tables, JSON, notices, drift, the way out.

bats_require_minimum_version 1.5.0
load helper
load tiny

setup_file() {
	vm_setup_file
	tiny_define "$VM_PREFIX-web"
}

# The guard of a mount point of our own outlives its mount.
teardown_file() {
	chattr -i "$VM_DIR/other" 2>/dev/null || true
	vm_teardown_file
}

setup() {
	web=$VM_PREFIX-web
	base=$VM_DIR/$web.raw
}

state_of() { lazyclone --json info "$1" | jq -r .state; }
has_state() { [ "$(state_of "$1")" = "$2" ]; }
daemon_pid() { lazyclone --json status | jq -r .daemon.pid; }

@test "before there is anything: nothing is listed, and nothing is made by looking" {
	[ "$(lazyclone --json list)" = "[]" ]
	lazyclone --json status | jq -e '.mount == "not mounted" and .daemon == null'
	expect 3 lazyclone info "$web"
	lazyclone doctor
	[ ! -e "$LAZYCLONE_STORE" ]
	[ ! -e "$VM_MOUNT" ]
}

@test "a dry run and --print-xml make nothing" {
	local before
	before=$(tiny_left)
	expect 0 lazyclone clone --dry-run "$web"
	[[ $output == *"$web-clone1: would be made"* ]]
	expect 0 lazyclone clone --print-xml "$web" "$VM_PREFIX-new"
	[ "$(xmllint --xpath 'string(/domain/name)' - <<<"$output")" = "$VM_PREFIX-new" ]
	virt-xml-validate - domain <<<"$output"
	lazyclone --json clone --dry-run -N 3 "$web" "$VM_PREFIX-new" |
		jq -e 'length == 3 and all(.made == false)'
	[ "$(tiny_left | grep -v '^[a-z-]*$')" = "$(grep -v '^[a-z-]*$' <<<"$before")" ]
	[ -z "$(ls -A "$LAZYCLONE_STORE/clones" 2>/dev/null)" ]
}

@test "clone starts the daemon, takes the first free number, and says what it made" {
	expect 0 lazyclone clone "$web"
	[[ $output == "$web-clone1: cloned in "* ]]
	[[ $output == *"$VM_MOUNT/$web-clone1/vda.raw"* ]]
	expect 0 lazyclone -v clone "$web"
	[[ $output == "$web-clone2: "* ]]
	[ "$(virsh domstate "$web-clone2")" = "shut off" ]
	cmp "$base" "$VM_MOUNT/$web-clone2/vda.raw"
}

@test "virt-clone's letters" {
	lazyclone clone -o "$web" -n "$VM_PREFIX-letters"
	[ "$(state_of "$VM_PREFIX-letters")" = "shut off" ]
	lazyclone rm "$VM_PREFIX-letters"
}

@test "root's qemu:///session is the system's libvirt, by one name" {
	lazyclone -c qemu:///session clone "$web" "$VM_PREFIX-session"
	has_state "$VM_PREFIX-session" "shut off"
	lazyclone --json info "$VM_PREFIX-session" | jq -e '.uri == "qemu:///system"'
	lazyclone rm "$VM_PREFIX-session"
	run ! virsh dominfo "$VM_PREFIX-session"
}

@test "several at once: a table, or JSON" {
	expect 0 lazyclone clone --count 3 "$web" "$VM_PREFIX-n"
	[ "$(grep -c ' made ' <<<"$output")" -eq 3 ]
	expect 8 lazyclone clone --count 4 "$web" "$VM_PREFIX-n"
	[ "$(grep -c ' made ' <<<"$output")" -eq 1 ]
	[ "$(grep -c ' failed ' <<<"$output")" -eq 3 ]
	expect 0 lazyclone --json rm "$VM_PREFIX"-n{1,2,3,4}
	jq -e 'length == 4 and all(.removed)' <<<"$output"
	run ! lazyclone clone --all-or-none --count 2 "$web" "$web-clone"
	[ "$(lazyclone --json list | jq length)" -eq 2 ]
}

@test "a disk alone: its path on stdout, nothing else" {
	expect 0 lazyclone clone --disk-only "$base" "$VM_PREFIX-disk"
	cmp "$base" "$output"
	[ "$stderr" = "" ]
	[ "$(state_of "$VM_PREFIX-disk")" = "disk only" ]
	run ! virsh dominfo "$VM_PREFIX-disk"
	lazyclone rm "$VM_PREFIX-disk"
	[ ! -e "$output" ]
}

@test "every verb that prints a result prints valid JSON" {
	lazyclone --json list | jq -e 'length == 2 and all(.size_bytes == 8388608)'
	lazyclone --json info "$web-clone1" | jq -e '.disks[0].base == "'"$base"'"'
	lazyclone --json info "$(virsh domuuid "$web-clone1")" | jq -e ".name == \"$web-clone1\""
	lazyclone --json status | jq -e '.mount == "mounted" and (.daemon.clones | length) == 2'
	lazyclone --json doctor | jq -e 'map(.status) | all(. == "ok" or . == "warning")'
	lazyclone --json mount | jq -e ".mountpoint == \"$VM_MOUNT\""
	lazyclone --json version | jq -e .version
	lazyclone --json clone "$web" "$VM_PREFIX-j" | jq -e '.[0].made and .[0].error == null'
	lazyclone --json rm "$VM_PREFIX-j" | jq -e '.[0].removed'
}

@test "an error in JSON: on stderr, with the exit status in it" {
	expect 3 lazyclone --json info nobody
	[ "$output" = "" ]
	jq -e '.error.code == 3 and .error.class == "not-found"' <<<"$stderr"
	expect 8 lazyclone --json rm "$VM_PREFIX-nobody" "$web-clone2"
	jq -e '.[0].error.code == 3 and .[1].removed' <<<"$output"
	lazyclone clone "$web" "$web-clone2"
}

@test "tables" {
	expect 0 lazyclone list
	[[ ${lines[0]} == NAME*STATE*SIZE*DELTA*CREATED*SOURCE* ]]
	[[ ${lines[1]} == "$web-clone1"*"shut off"*"8.0 MiB"*"$web"* ]]
	expect 0 lazyclone info "$web-clone1"
	[[ $output == *"connection qemu:///system"* ]]
	[[ $output == *"$VM_MOUNT/$web-clone1/vda.raw"* ]]
	expect 0 lazyclone status
	[[ $output == *"mount    $VM_MOUNT, mounted"* ]]
	[[ $output == *"$base"* ]]
}

@test "mount and umount, again and again" {
	expect 0 lazyclone umount
	run ! mountpoint -q "$VM_MOUNT"
	expect 0 lazyclone umount
	[[ $stderr == *"is not mounted"* ]]
	expect 0 lazyclone list
	[[ $output == *"$web-clone1"*"shut off"* ]]
	expect 0 lazyclone mount
	[ "$output" = "$LAZYCLONE_STORE on $VM_MOUNT" ]
	expect 0 lazyclone mount "$VM_MOUNT"
	cmp "$base" "$VM_MOUNT/$web-clone1/vda.raw"
}

@test "unmounted, an original is at its owner's mercy: umount, mount and list say so" {
	local image=$VM_DIR/loose.raw
	truncate -s 1M "$image"
	lazyclone clone --disk-only "$image" "$VM_PREFIX-loose"
	expect 0 lazyclone umount
	[[ $stderr == *"nothing holds the originals of"* ]]
	echo changed >>"$image"
	expect 0 lazyclone mount
	[[ $stderr == *"clone $VM_PREFIX-loose, disk disk: base $image: has changed"* ]]
	expect 0 lazyclone list
	[[ $output == *"disk error"* ]]
	[[ $stderr == *"base $image: has changed"* ]]
	expect 0 lazyclone rm "$VM_PREFIX-loose"
	rm "$image"
}

@test "umount is refused while anybody has a disk open, and says which" {
	exec 9<"$VM_MOUNT/$web-clone1/vda.raw"
	expect 4 lazyclone umount
	exec 9<&-
	says "$web-clone1"
	says vda
	lazyclone umount
	lazyclone mount
}

@test "two commands may start the daemon at the same moment" {
	local first second
	lazyclone umount
	lazyclone mount & first=$!
	lazyclone mount & second=$!
	wait "$first"
	wait "$second"
	mountpoint -q "$VM_MOUNT"
}

@test "a mount point once given is remembered" {
	mkdir "$VM_DIR/other"
	lazyclone --store "$VM_DIR/store2" mount "$VM_DIR/other"
	lazyclone --store "$VM_DIR/store2" umount
	expect 0 lazyclone --store "$VM_DIR/store2" mount
	[ "$output" = "$VM_DIR/store2 on $VM_DIR/other" ]
	lazyclone --store "$VM_DIR/store2" umount
}

@test "running: umount and rm are refused and name it; rm --force removes it" {
	tiny_start "$web-clone2"
	has_state "$web-clone2" running
	lazyclone --json info "$web-clone2" | jq -e '.disks[0].open'
	expect 4 lazyclone umount
	says "domain $web-clone2 is running on disk vda of clone $web-clone2"
	expect 4 lazyclone rm "$web-clone2"
	says "$web-clone2"
	has_state "$web-clone2" running
	expect 4 lazyclone hydrate "$web-clone2"
	says "$web-clone2"
	expect 0 lazyclone rm --force --dry-run "$web-clone2"
	has_state "$web-clone2" running
	expect 0 lazyclone rm --force "$web-clone2"
	run ! virsh dominfo "$web-clone2"
	[ ! -e "$VM_MOUNT/$web-clone2" ]
	[ ! -e "$LAZYCLONE_STORE/clones/$web-clone2" ]
}

@test "a daemon that was killed: the mount is dead, the guest hangs, the way out works" {
	local clone=$web-clone1
	tiny_start "$clone"
	kill -KILL "$(daemon_pid)"
	vm_until 10 sh -c "'$BUILD_BIN/lazyclone' --json status | jq -e '.mount == \"dead\"'"
	lazyclone --json status | jq -e ".hanging == [\"$clone\"]"
	has_state "$clone" hangs
	expect 0 lazyclone list
	[[ $stderr == *"virsh destroy $clone; virsh start $clone"* ]]
	expect 1 lazyclone doctor
	[[ $output == *"$clone hangs"* ]]
	expect 0 lazyclone mount
	[[ $stderr == *"clearing the dead mount at $VM_MOUNT"* ]]
	# The daemon is back; the guest's open file is not.
	has_state "$clone" hangs
	lazyclone umount
	lazyclone mount
	lazyclone status | grep -F "virsh destroy $clone; virsh start $clone"
	virsh destroy "$clone"
	tiny_start "$clone"
	has_state "$clone" running
	virsh destroy "$clone"
	has_state "$clone" "shut off"
}

@test "a daemon that hangs does not hang the tool" {
	local pid begun=$SECONDS
	pid=$(daemon_pid)
	kill -STOP "$pid"
	# The mount does not answer; the control socket does not either.
	run timeout 100 "$BUILD_BIN/lazyclone" --json status
	kill -CONT "$pid"
	[ "$status" -eq 0 ]
	jq -e '.mount == "hung"' <<<"$output"
	[ $((SECONDS - begun)) -lt 90 ]
	vm_until 10 sh -c "'$BUILD_BIN/lazyclone' --json status | jq -e '.mount == \"mounted\"'"
}

@test "drift: a domain undefined or redefined behind our back" {
	lazyclone clone "$web" "$VM_PREFIX-drift"
	virsh dumpxml "$VM_PREFIX-drift" >"$VM_DIR/drift.xml"
	virsh undefine "$VM_PREFIX-drift"
	has_state "$VM_PREFIX-drift" "no domain"
	lazyclone list | grep -F "$VM_PREFIX-drift" | grep -F "no domain"
	# A stranger under the same UUID.
	sed '/<metadata>/,/<\/metadata>/d' "$VM_DIR/drift.xml" >"$VM_DIR/stranger.xml"
	virsh define "$VM_DIR/stranger.xml"
	has_state "$VM_PREFIX-drift" foreign
	expect 5 lazyclone rm "$VM_PREFIX-drift"
	virsh dominfo "$VM_PREFIX-drift" >/dev/null
	virsh undefine "$VM_PREFIX-drift"
	lazyclone rm "$VM_PREFIX-drift"
	expect 3 lazyclone info "$VM_PREFIX-drift"
}

@test "hydrate says how far it is, and what it made" {
	lazyclone clone "$web" "$VM_PREFIX-full"
	expect 0 lazyclone hydrate "$VM_PREFIX-full"
	[[ $output == "$VM_PREFIX-full: independent, "* ]]
	[[ $stderr == *"$VM_PREFIX-full: 100 %"* ]]
	[[ ${lines[1]} == "  $VM_DIR/"*.raw ]]
	cmp "$base" "${lines[1]##* }"
	expect 3 lazyclone info "$VM_PREFIX-full"
	lazyclone clone "$web" "$VM_PREFIX-full2"
	mkdir "$VM_DIR/to"
	expect 0 lazyclone -q --json hydrate --to "$VM_DIR/to" "$VM_PREFIX-full2"
	[ "$stderr" = "" ]
	cmp "$base" "$(jq -r '.[0].images[0]' <<<"$output")"
	[[ $(jq -r '.[0].images[0]' <<<"$output") == "$VM_DIR/to/"* ]]
}

@test "the manual and the completion know every verb and option" {
	local verb option
	local -a verbs
	mapfile -t verbs < <(lazyclone help | sed -n 's/^  \([a-z]*\)  *[a-z].*/\1/p'
		lazyclone help base | sed -n 's/^  \([a-z]*\)  *[a-z].*/base \1/p')
	for verb in "${verbs[@]}"; do
		grep -qE "^\.It Cm $verb( |\$)" "$VM_ROOT/clone/cmd/lazyclone.1"
		for option in $(lazyclone help $verb | grep -oE -- '--[a-z-]+ ' | sort -u); do
			grep -qF -- "Fl -${option#--}" <(sed 's/$/ /' "$VM_ROOT/clone/cmd/lazyclone.1")
		done
	done
	# shellcheck source=contrib/lazyclone.bash-completion
	. "$VM_ROOT/contrib/lazyclone.bash-completion"
	COMP_WORDS=(lazyclone "") COMP_CWORD=1
	_lazyclone
	[ "$(printf '%s\n' "${COMPREPLY[@]}" | sort)" = \
		"$(lazyclone help | sed -n 's/^  \([a-z]*\)  *[a-z].*/\1/p' | sort)" ]
	COMP_WORDS=(lazyclone info "$web-cl") COMP_CWORD=2
	_lazyclone
	[ "${COMPREPLY[*]}" = "$web-clone1" ]
	COMP_WORDS=(lazyclone hydrate --t) COMP_CWORD=2
	_lazyclone
	[ "${COMPREPLY[*]}" = --to ]
}

@test "doctor finds what is wrong" {
	expect 0 lazyclone -q doctor
	chmod 0700 "$VM_DIR"
	expect 1 lazyclone -q doctor
	chmod 0711 "$VM_DIR"
	[[ $output == *"QEMU's user cannot pass $VM_DIR"* ]]
}
