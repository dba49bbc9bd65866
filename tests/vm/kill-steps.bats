#!/usr/bin/env bats
# kill-steps.bats: clone, hydrate and rm, killed, failing and interrupted at each of their steps.

# shellcheck disable=SC2154 # set by run, and by steps.bash
bats_require_minimum_version 1.5.0
load helper
load tiny
load steps

setup_file() {
	vm_setup_file
	steps_define "$VM_PREFIX-web"
	# The daemon must not be started with a step to die at.
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
	nvram=/var/lib/libvirt/qemu/nvram/${one}_VARS.fd
	disk=$VM_MOUNT/$one/vda.raw
	before=$(tiny_left)
	whole=0
	nothing=0
}

teardown() {
	tiny_unchanged
}

# Any command that changes something cleans first; this one has nothing else to do.

is_nothing() {
	! virsh domstate "$one" >/dev/null 2>&1 && [ ! -e "$VM_MOUNT/$one" ] &&
		tiny_unchanged
}

is_whole() {
	[ "$(virsh domstate "$one")" = "shut off" ] || return 1
	cmp "$VM_DIR/$web.raw" "$disk" && cmp "$VM_DIR/${web}_VARS.fd" "$nvram" || return 1
	[ "$(lazyclone info --json "$one" | jq -r .state)" = "shut off" ] || return 1
	find "$LAZYCLONE_STORE"/{journal,staging,trash} -mindepth 1 | grep . && return 1
	[ "$(find "$LAZYCLONE_STORE/clones" -mindepth 1 -maxdepth 1)" = \
		"$LAZYCLONE_STORE/clones/$one" ]
}

# What was found is counted; a whole clone makes room for the next step.
whole_or_nothing() {
	if is_nothing; then
		nothing=$((nothing + 1))
		return
	fi
	is_whole || { echo "neither whole nor nothing:"; tiny_left; return 1; }
	whole=$((whole + 1))
	lazyclone rm "$one" >/dev/null && is_nothing
}

clone_after_next() { next_command && whole_or_nothing; }

@test "clone killed at each step: nothing, or a whole clone" {
	steps_each kill clone_after_next clone "$web" "$one"
	is_whole
	lazyclone rm "$one"
	echo "$steps steps: $nothing undone, $whole whole"
	[ "$steps" -gt 30 ] && [ "$nothing" -gt 20 ] && [ "$whole" -ge 1 ]
}

@test "clone with each step failing: nothing at once, or a whole clone" {
	clone_checked() {
		# The lock of a dead run's journal may be all that is left.
		if [ "$code" -ne 0 ]; then next_command || return 1; fi
		whole_or_nothing
	}
	steps_each fail clone_checked clone "$web" "$one"
	lazyclone rm "$one"
	echo "$steps steps: $nothing undone, $whole whole"
	[ "$steps" -gt 30 ] && [ "$nothing" -gt 20 ]
}

@test "clone interrupted at each step: nothing, or a whole clone, and the status says which" {
	clone_interrupted() {
		local as_said=is_nothing
		[ "$code" -ne 0 ] || as_said=is_whole
		"$as_said" || { echo "status $code, but not $as_said"; return 1; }
		whole_or_nothing
	}
	steps_each int clone_interrupted clone "$web" "$one"
	lazyclone rm "$one"
	echo "$steps steps: $nothing undone, $whole whole"
	[ "$nothing" -gt 20 ] && [ "$whole" -ge 1 ]
}

@test "a disk without a domain, killed at each step" {
	disk_checked() {
		next_command || return 1
		if is_nothing; then nothing=$((nothing + 1)); return; fi
		cmp "$VM_DIR/$web.raw" "$VM_MOUNT/$one/disk.raw" || return 1
		whole=$((whole + 1))
		lazyclone rm "$one" >/dev/null && is_nothing
	}
	steps_each kill disk_checked clone --disk-only "$VM_DIR/$web.raw" "$one"
	lazyclone rm "$one"
	echo "$steps steps: $nothing undone, $whole whole"
	[ "$nothing" -gt 10 ] && [ "$whole" -ge 1 ]
}

@test "two clones or none, killed at each step: none, or both" {
	group_checked() {
		next_command || return 1
		if is_nothing; then nothing=$((nothing + 1)); return; fi
		whole=$((whole + 1))
		lazyclone rm "${one}1" "${one}2" >/dev/null && is_nothing
	}
	steps_each kill group_checked clone --all-or-none -N 2 "$web" "$one"
	lazyclone rm "${one}1" "${one}2"
	echo "$steps steps: $nothing undone, $whole whole"
	[ "$nothing" -gt 30 ] && [ "$whole" -ge 1 ]
}

@test "cleaning up after a killed clone, killed itself at each step" {
	# Killed just before its domain would be defined: all else is there.
	steps_before() { steps_kill virDomainDefineXMLFlags 1 clone "$web" "$one"; }
	cleaned() { next_command && is_nothing; }
	for ((steps = 1; ; steps++)); do
		steps_before
		steps_run "$steps" kill rm "$VM_PREFIX-nobody"
		[ -n "$step" ] || break
		cleaned
	done
	is_nothing
	echo "$steps steps"
	[ "$steps" -gt 5 ]
}

# ---- hydrate and rm: a clone that has written, and what it must read for ever after ----

new_clone() {
	lazyclone clone "$web" "$one" >/dev/null || return 1
	cp "$VM_DIR/$web.raw" "$VM_DIR/expected"
	for file in "$disk" "$VM_DIR/expected"; do
		printf 'written by the clone' |
			dd of="$file" bs=1 seek=3000000 conv=notrunc status=none || return 1
	done
}

domain_disk() { virsh domblklist "$one" | awk '$1 == "vda" { print $2 }'; }

# Whatever was stopped: the machine's disk is there, and its bytes are.
keeps_data() {
	local at
	at=$(domain_disk)
	qemu-img compare -q -f raw -F raw "$at" "$VM_DIR/expected" ||
		{ echo "the disk $at is not what the clone wrote"; return 1; }
}

no_temporary_files() {
	! find "$VM_DIR" -maxdepth 1 -name '.*lazyclone-*' | grep .
}

is_independent() {
	[ "$(domain_disk)" = "$VM_DIR/$one.raw" ] && keeps_data && no_temporary_files || return 1
	! virsh dumpxml "$one" | grep -E "lazyclone[:.]|$VM_MOUNT" || return 1
	[ ! -e "$VM_MOUNT/$one" ] && [ ! -e "$LAZYCLONE_STORE/clones/$one" ]
}

# Independent: gone, so that the next step begins with a new clone.
forget() {
	virsh undefine --nvram "$one" >/dev/null && rm -f "$VM_DIR/$one.raw"
}

hydrate_again() {
	keeps_data || return 1
	if [ -e "$LAZYCLONE_STORE/clones/$one" ]; then
		nothing=$((nothing + 1))
		expect 0 lazyclone hydrate "$one" || return 1
	else
		whole=$((whole + 1))
	fi
	is_independent && forget
}

@test "hydrate killed at each step: no byte is lost, and running it again ends it" {
	steps_before() { new_clone; }
	steps_each kill hydrate_again hydrate "$one"
	is_independent
	forget
	echo "$steps steps: $nothing resumed, $whole had ended"
	[ "$steps" -gt 20 ] && [ "$nothing" -gt 15 ]
}

@test "hydrate interrupted at each step: a clone as before, or independent" {
	hydrate_interrupted() {
		keeps_data || return 1
		if [ "$code" -eq 0 ]; then
			whole=$((whole + 1))
			is_independent && forget
			return
		fi
		nothing=$((nothing + 1))
		[ "$(domain_disk)" = "$disk" ] && [ ! -e "$VM_DIR/$one.raw" ] &&
			no_temporary_files && lazyclone rm "$one" >/dev/null && is_nothing
	}
	steps_before() { new_clone; }
	steps_each int hydrate_interrupted hydrate "$one"
	is_independent
	forget
	echo "$steps steps: $nothing stopped, $whole ended"
	[ "$nothing" -gt 5 ] && [ "$whole" -gt 1 ]
}

@test "hydrate with each step failing: no byte is lost, and running it again ends it" {
	steps_before() { new_clone; }
	steps_each fail hydrate_again hydrate "$one"
	is_independent
	forget
	echo "$steps steps: $nothing resumed, $whole had ended"
	[ "$nothing" -gt 15 ]
}

@test "a hydrate that was killed: rm takes its unfinished images along" {
	rm_checked() {
		if [ -e "$LAZYCLONE_STORE/clones/$one" ] && [ "$(domain_disk)" = "$disk" ]; then
			nothing=$((nothing + 1))
			expect 0 lazyclone rm "$one" && no_temporary_files &&
				[ ! -e "$VM_DIR/$one.raw" ] && is_nothing
			return
		fi
		# Independent already: rm keeps away from it.
		whole=$((whole + 1))
		run lazyclone rm "$one"
		[ "$status" -ne 0 ] && keeps_data || return 1
		lazyclone hydrate "$one" >/dev/null 2>&1 || [ ! -e "$LAZYCLONE_STORE/clones/$one" ]
		is_independent && forget
	}
	steps_before() { new_clone; }
	steps_each kill rm_checked hydrate "$one"
	forget
	[ "$nothing" -gt 15 ] && [ "$whole" -ge 1 ]
}

@test "rm killed at each step: running it again ends it" {
	rm_again() {
		run lazyclone rm "$one"
		[ "$status" -eq 0 ] || [ "$status" -eq 3 ] || { echo "$output"; return 1; }
		next_command && is_nothing
	}
	steps_before() { new_clone; }
	steps_each kill rm_again rm "$one"
	is_nothing
	[ "$steps" -gt 4 ]
}
