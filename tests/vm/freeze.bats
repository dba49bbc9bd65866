#!/usr/bin/env bats
# freeze.bats: originals that move on to a delta of their own, and back.

# shellcheck disable=SC2154 # set by run, and by steps.bash
bats_require_minimum_version 1.5.0
load helper
load tiny
load steps

setup_file() {
	vm_setup_file
	# The daemon must not be started with a step to die at.
	lazyclone mount >/dev/null
}
teardown_file() { vm_teardown_file; }

setup() {
	web=$VM_PREFIX-web
	image=$VM_DIR/$web.raw
	disk=$VM_MOUNT/$web/vda.raw
	thawed=$VM_DIR/$web-thawed.raw
	steps_define "$web"
	virsh dumpxml --inactive "$web" >"$VM_DIR/before.xml"
	cp "$image" "$VM_DIR/expected"
	sha256sum "$image" >"$VM_DIR/base.sha256"
	mode=$(stat -c %a "$image")
	frozen=0
	untouched=0
}

# Each test leaves the machine as it likes; the next begins with a new one.
teardown() {
	local name
	virsh destroy "$web" >/dev/null 2>&1 || true
	for name in $(lazyclone list --json | jq -r '.[].name' | grep -vx "$web"); do
		lazyclone rm --force "$name" >/dev/null
	done
	forget
}

forget() {
	virsh undefine --keep-nvram "$web" >/dev/null || return 1
	[ ! -e "$LAZYCLONE_STORE/clones/$web" ] || lazyclone rm "$web" >/dev/null || return 1
	rm -f "$VM_DIR/$web"*.raw
}

domain_disk() { virsh domblklist "$web" | awk '$1 == "vda" { print $2 }'; }

# As a guest writes: what the machine has from now on is in "expected".
write_disk() {
	for file in "$disk" "$VM_DIR/expected"; do
		printf 'written after the freeze' |
			dd of="$file" bs=1 seek=3000000 conv=notrunc status=none || return 1
	done
}

keeps_data() {
	qemu-img compare -q -f raw -F raw "$(domain_disk)" "$VM_DIR/expected" ||
		{ echo "the disk $(domain_disk) is not what was written"; return 1; }
}

frozen_image() { awk '{ print $2 }' "$VM_DIR/base.sha256"; }
write_bits() { stat -c %A "$(frozen_image)" | tr -dc w; }

is_untouched() {
	virsh dumpxml --inactive "$web" | diff "$VM_DIR/before.xml" - || return 1
	sha256sum --quiet -c "$VM_DIR/base.sha256" || return 1
	[ "$(stat -c %a "$image")" = "$mode" ] || { stat "$image"; return 1; }
	[ ! -e "$LAZYCLONE_STORE/clones/$web" ] && [ ! -e "$disk" ] || return 1
	! find "$LAZYCLONE_STORE"/{journal,staging,trash} -mindepth 1 ! -name '*lock' | grep .
}

is_frozen() {
	[ "$(domain_disk)" = "$disk" ] && cmp "$disk" "$VM_DIR/expected" || return 1
	[ -z "$(write_bits)" ] || return 1
	sha256sum --quiet -c "$VM_DIR/base.sha256" || return 1
	grep -q "<source file='$(frozen_image)'" "$LAZYCLONE_STORE/clones/$web/original.xml" || return 1
	[ "$(lazyclone info --json "$web" | jq -c '[.state, .frozen]')" = '["shut off",true]' ]
}

is_thawed() {
	[ "$(domain_disk)" = "$thawed" ] && keeps_data || return 1
	! virsh dumpxml "$web" | grep -E "lazyclone[:.]|$VM_MOUNT" || return 1
	[ ! -e "$LAZYCLONE_STORE/clones/$web" ] && [ ! -e "$VM_MOUNT/$web" ]
}

# All but the disk and the metadata, as text.
rest_of() {
	xmllint --xpath '/domain/*[not(self::devices or self::metadata)] |
		/domain/devices/*[not(self::disk)]' "$1"
}

@test "a frozen original is the same machine; its images stay as they are" {
	lazyclone base freeze "$web"
	is_frozen
	virsh dumpxml --inactive "$web" >"$VM_DIR/frozen.xml"
	diff <(rest_of "$VM_DIR/before.xml") <(rest_of "$VM_DIR/frozen.xml")
	grep -q '<lazyclone:frozen ' "$VM_DIR/frozen.xml"
	[[ "$(lazyclone list)" == *"shut off, frozen"* ]]
	tiny_start "$web"
	virsh destroy "$web"
	write_disk
	is_frozen
	cmp "$VM_DIR/${web}_VARS.fd" "$LAZYCLONE_STORE/clones/$web/nvram.pristine"
}

@test "a frozen original is no clone: rm, reset and hydrate refuse it by name" {
	lazyclone base freeze "$web"
	write_disk
	for verb in "rm --force" reset "reset --to-base --force" hydrate; do
		# shellcheck disable=SC2086 # words
		expect 4 lazyclone $verb "$web"
		says "$web is a frozen original"
		[[ $stderr == *"lazyclone base thaw $web"* ]]
	done
	expect 4 lazyclone base freeze "$web"
	says "is frozen already"
	expect 4 lazyclone base rm --yes "$image"
	is_frozen
}

@test "a frozen original is cloned as it is now, also from a snapshot while it runs" {
	local one=$VM_PREFIX-one two=$VM_PREFIX-two
	lazyclone base freeze "$web"
	write_disk
	lazyclone clone "$web" "$one"
	cmp "$VM_DIR/expected" "$VM_MOUNT/$one/vda.raw"
	lazyclone snapshot "$web" fresh
	tiny_start "$web"
	lazyclone clone --snapshot fresh "$web" "$two"
	cmp "$VM_DIR/expected" "$VM_MOUNT/$two/vda.raw"
	expect 4 lazyclone base thaw "$web"
	says running
	# The clones keep what they share with it.
	virsh destroy "$web"
	expect 0 lazyclone base thaw "$web"
	[[ $output == *"$image: kept: "*"$one"* ]]
	is_thawed
	cmp "$VM_DIR/expected" "$VM_MOUNT/$one/vda.raw"
	cmp "$VM_DIR/expected" "$VM_MOUNT/$two/vda.raw"
}

@test "clone --base freeze: the original can be started beside its clones" {
	local one=$VM_PREFIX-one two=$VM_PREFIX-two
	run --separate-stderr lazyclone clone --base freeze --dry-run "$web" "$one"
	is_untouched
	expect 2 lazyclone clone --base freeze --disk-only "$image" "$one"
	expect 0 lazyclone clone --base freeze "$web" "$one"
	[[ $stderr == *"$web is frozen"* ]]
	is_frozen
	tiny_start "$web"
	virsh destroy "$web"
	write_disk
	expect 0 lazyclone clone --base freeze "$web" "$two"
	[[ $stderr != *"is frozen"* ]]
	cmp "$image" "$VM_MOUNT/$one/vda.raw"
	cmp "$VM_DIR/expected" "$VM_MOUNT/$two/vda.raw"
	is_frozen
}

@test "thaw: full images, and the old ones gone" {
	lazyclone base freeze "$web"
	write_disk
	lazyclone base thaw "$web"
	is_thawed
	[ ! -e "$image" ]
	diff <(sed "s|$image|$thawed|" "$VM_DIR/before.xml") <(virsh dumpxml --inactive "$web")
	# And once more: the names go on.
	mv "$VM_DIR/before.xml" "$VM_DIR/first.xml"
	virsh dumpxml --inactive "$web" >"$VM_DIR/before.xml"
	sha256sum "$thawed" >"$VM_DIR/base.sha256"
	lazyclone base freeze "$web"
	is_frozen
	[ "$(lazyclone --json base thaw "$web" | jq -c .images)" = \
		"[\"$VM_DIR/$web-thawed2.raw\"]" ]
	[ ! -e "$thawed" ]
	keeps_data
}

@test "thaw keeps an old image that somebody needs, and says who" {
	local one=$VM_PREFIX-one
	lazyclone clone "$web" "$one" --base protect
	lazyclone base freeze "$web"
	write_disk
	expect 0 lazyclone base thaw "$web"
	[[ $output == *"$image: kept: $image is needed by $one"* ]]
	is_thawed
	sha256sum --quiet -c "$VM_DIR/base.sha256"
	cmp "$image" "$VM_MOUNT/$one/vda.raw"
	lazyclone rm "$one"
	lazyclone base rm --yes "$image"
	[ ! -e "$image" ]
	keeps_data
}

@test "what cannot be frozen or thawed" {
	local one=$VM_PREFIX-one
	tiny_start "$web"
	expect 4 lazyclone base freeze "$web"
	says running
	virsh destroy "$web"
	expect 3 lazyclone base freeze "$VM_PREFIX-nobody"
	expect 5 lazyclone base thaw "$web"
	lazyclone clone "$web" "$one"
	expect 4 lazyclone base freeze "$one"
	says "is a clone"
	expect 2 lazyclone base thaw "$one"
	says "not a frozen original"
	lazyclone rm "$one"
	# A clone without a domain that has its name.
	lazyclone clone --disk-only "$image" "$web"
	expect 4 lazyclone base freeze "$web"
	says "a clone of that name"
	lazyclone rm "$web"
	is_untouched
}

@test "a frozen original whose domain is gone: rm removes what is left" {
	lazyclone base freeze "$web"
	virsh undefine --keep-nvram "$web"
	expect 3 lazyclone base thaw "$web"
	lazyclone rm "$web"
	[ ! -e "$LAZYCLONE_STORE/clones/$web" ]
	virsh define "$VM_DIR/before.xml"
	is_untouched
}

# ---- at each step ----

# A frozen one makes room for the next step.
untouched_or_frozen() {
	if is_untouched; then untouched=$((untouched + 1)); return; fi
	is_frozen || { echo "neither untouched nor frozen:"; tiny_left; return 1; }
	frozen=$((frozen + 1))
	virsh undefine --keep-nvram "$web" >/dev/null && lazyclone rm "$web" >/dev/null &&
		virsh define "$VM_DIR/before.xml" >/dev/null && is_untouched
}

@test "freeze killed at each step: the untouched original, or the frozen one" {
	freeze_after_next() { next_command && untouched_or_frozen; }
	steps_each kill freeze_after_next base freeze "$web"
	is_frozen
	echo "$steps steps: $untouched untouched, $frozen frozen"
	[ "$untouched" -gt 20 ] && [ "$frozen" -ge 1 ]
}

@test "freeze with each step failing: the untouched original at once, or the frozen one" {
	freeze_checked() {
		# The lock of a dead run's journal may be all that is left.
		if [ "$code" -ne 0 ]; then next_command || return 1; fi
		untouched_or_frozen
	}
	steps_each fail freeze_checked base freeze "$web"
	echo "$steps steps: $untouched untouched, $frozen frozen"
	[ "$untouched" -gt 20 ]
}

@test "freeze: a definition that was edited meanwhile is not replaced" {
	steps_halt renameat2 1 base freeze "$web"
	virsh desc "$web" --config "edited"
	steps_resume
	[ "$code" -eq 4 ]
	[ "$(virsh desc "$web")" = edited ]
	[ "$(domain_disk)" = "$image" ]
	[ ! -e "$LAZYCLONE_STORE/clones/$web" ]
}

@test "thaw killed at each step: no byte is lost, and running it again ends it" {
	local resumed=0 ended=0
	steps_before() {
		[ -e "$LAZYCLONE_STORE/clones/$web" ] && return
		forget && steps_define "$web" && cp "$image" "$VM_DIR/expected" &&
			lazyclone base freeze "$web" >/dev/null && write_disk
	}
	thaw_again() {
		keeps_data || return 1
		if [ -e "$LAZYCLONE_STORE/clones/$web" ]; then
			resumed=$((resumed + 1))
			expect 0 lazyclone base thaw "$web" || return 1
			[ ! -e "$image" ] || { echo "$output"; return 1; }
		else
			ended=$((ended + 1))
		fi
		is_thawed
	}
	steps_each kill thaw_again base thaw "$web"
	is_thawed
	[ ! -e "$image" ]
	echo "$steps steps: $resumed resumed, $ended had ended"
	[ "$resumed" -gt 15 ] && [ "$ended" -ge 1 ]
}
