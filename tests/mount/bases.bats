#!/usr/bin/env bats
# bases.bats: bases looked at and moved by the tool: list, info, verify, relink; two stores.
# shellcheck disable=SC2154 # set by bats
bats_require_minimum_version 1.5.0
load helper

setup() {
	mount_setup
	export LAZYCLONE_STORE=$STORE LAZYCLONE_STORES=$DIR/stores
	OTHER=$DIR/other
	base_image "$DIR/base.raw"
	base_image "$DIR/else.raw"
}

teardown() {
	[ -z "${LOOP:-}" ] || losetup -d "$LOOP"
	mount_teardown
}

tool() { "$BUILD_BIN/lazyclone" "$@"; }

# tool_with STATUS ARGUMENT...: the tool exits so; its words in $output and $stderr.
tool_with() {
	local wanted=$1
	shift
	run --separate-stderr tool "$@"
	echo "$output" "$stderr"
	[ "$status" -eq "$wanted" ]
}

# disk NAME IMAGE [STORE]: a clone that is a disk alone; its daemon is ended with the test.
disk() {
	tool -q --store "${3:-$STORE}" clone --disk-only "$2" "$1" >"$DIR/$1.path" 3>&-
	PIDS+=("$(tool --store "${3:-$STORE}" --json status | jq .daemon.pid)")
}

state_of() { tool --json base list | jq -r --arg p "$1" '.[] | select(.path == $p).state'; }
state_is() { [ "$(state_of "$1")" = "$2" ]; }
error_of() { status ".clones[] | select(.name == \"$1\") | .disks[0].error // \"none\""; }

# Another byte stands there, and no time says so; twice: the one that was there.
flip_quietly() {
	touch -r "$1" "$DIR/times"
	dd if="$1" bs=1 skip="$2" count=1 status=none | tr '\000-\377' '\200-\377\000-\177' |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
	touch -r "$DIR/times" "$1"
}

@test "list and info: every base once, its files, and who needs it in all stores" {
	tool_with 0 base list
	[[ $stderr == *"no bases yet"* ]]
	disk one "$DIR/base.raw"
	disk two "$DIR/base.raw"
	disk three "$DIR/else.raw"
	disk four "$DIR/base.raw" "$OTHER"
	tool_with 0 --json base list
	[ "$(jq -r '.[] | "\(.path) \(.format) \(.state) \(.clones | length)"' <<<"$output")" = \
		"$DIR/base.raw raw ready 3
$DIR/else.raw raw ready 1" ]
	[ "$(jq '.[0].size_bytes' <<<"$output")" -eq "$(stat -c %s "$DIR/base.raw")" ]
	[ "$(jq '.[0].allocated_bytes' <<<"$output")" -eq $(($(stat -c %b "$DIR/base.raw") * 512)) ]
	# The same from the other store, and from none.
	[ "$(tool --store "$OTHER" --json base list)" = "$output" ]
	[ "$(tool --store "$DIR/none" --json base list)" = "$output" ]
	tool_with 0 base info "$DIR/base.raw"
	[[ $output == *"four "*"$OTHER"*"one "*"$STORE"*"two "*"$STORE"* ]]
	[[ $output != *three* ]]
	[[ $output == *"sampled"* ]]
	(cd "$DIR" && tool --json base info ./base.raw >"$DIR/info.json")
	[ "$(jq -r '.[0].files[0].fingerprint' "$DIR/info.json")" = sampled ]
	tool_with 3 base info "$DIR/base"
	# Nobody to ask: not known.
	stop_daemon
	tool --store "$OTHER" umount -q
	state_is "$DIR/base.raw" unknown
	[[ $(tool base list) == *" ?"* ]]
}

@test "a store that is gone, or another one at its place, is said and not counted" {
	disk one "$DIR/base.raw"
	disk two "$DIR/base.raw" "$OTHER"
	tool --store "$OTHER" umount -q
	mv "$OTHER" "$DIR/away"
	tool_with 0 --json base list
	[[ $stderr == *"store $OTHER: "*"its clones are not counted"* ]]
	[ "$(jq '.[0].clones | length' <<<"$output")" -eq 1 ]
	mkdir "$OTHER"
	tool_with 0 base list
	[[ $stderr == *"store $OTHER: "* ]]
	# Used where it is now, it is found again.
	tool --store "$DIR/away" mount "$DIR/mnt2" 2>/dev/null || mkdir "$DIR/mnt2"
	tool --store "$DIR/away" mount "$DIR/mnt2" 3>&-
	PIDS+=("$(tool --store "$DIR/away" --json status | jq .daemon.pid)")
	tool_with 0 --json base list
	[ "$stderr" = "" ]
	[ "$(jq '.[0].clones | length' <<<"$output")" -eq 2 ]
}

@test "verify: a byte flipped under the same time is found, and where" {
	disk one "$DIR/base.raw"
	disk two "$DIR/else.raw"
	tool_with 0 base verify
	[ "$output" = "$DIR/base.raw: same (sampled)
$DIR/else.raw: same (sampled)" ]
	tool_with 0 base verify --full "$DIR/base.raw"
	[[ $output == *"recorded now"* ]]
	tool_with 0 base verify --full "$DIR/base.raw"
	[ "$output" = "$DIR/base.raw: same (all of it)" ]
	tool umount -q
	# In leaf 5 of the tree, which is in no sample of an image of 1024 leaves.
	flip_quietly "$DIR/base.raw" $((5 * 65536 + 77))
	tool_with 0 base verify "$DIR/base.raw"
	tool_with 11 --json base verify --full "$DIR/base.raw"
	[ "$(jq -c '.[0] | [.result, .compared, .differs]' <<<"$output")" = \
		'["changed","full",{"start":327680,"end":393216}]' ]
	[ "$(jq .error.code <<<"$stderr")" -eq 11 ]
	[[ $stderr == *"base $DIR/base.raw"*327680* ]]
	# In the first leaf, which always is.
	flip_quietly "$DIR/base.raw" 9
	tool_with 11 base verify
	[[ $output == *"$DIR/base.raw: changed"*"$DIR/else.raw: same"* ]]
	# Put back as it was: well again.
	flip_quietly "$DIR/base.raw" 9
	flip_quietly "$DIR/base.raw" $((5 * 65536 + 77))
	tool_with 0 base verify --full
	rm "$DIR/base.raw"
	tool_with 11 base verify "$DIR/base.raw"
	[[ $output == *"missing"* ]]
	state_is "$DIR/base.raw" missing
}

@test "verify without a record makes it; a record that is damaged is made anew" {
	disk one "$DIR/base.raw"
	rm "$STORE"/bases/*.json
	tool_with 0 base verify
	[[ $output == *"nothing was recorded to compare it with; recorded now (sampled)"* ]]
	echo '{}' >"$(echo "$STORE"/bases/*.json)"
	tool_with 0 base verify
	[[ $output == *"recorded now"* ]]
	tool_with 0 base verify
	[ "$output" = "$DIR/base.raw: same (sampled)" ]
	# It goes with the last clone that needs it.
	disk two "$DIR/base.raw"
	tool rm two
	[ -n "$(ls "$STORE/bases")" ]
	tool rm one
	[ ! -e "$STORE/bases" ]
}

@test "a base that changes: its clones fail and say so, in status, list and the log; no others" {
	disk one "$DIR/base.raw"
	disk two "$DIR/base.raw"
	disk three "$DIR/else.raw"
	stop_daemon
	"$BUILD_BIN/lazyclonefs" -f "$STORE" "$MNT" 2>"$DIR/log" 3>&- &
	PIDS+=("$!")
	wait_for test -f "$MNT/one/disk.raw"
	printf X | dd of="$DIR/base.raw" bs=1 seek=5000 conv=notrunc status=none
	wait_for grep -q "clone two: disk disk: its base changed: $DIR/base.raw" "$DIR/log"
	grep -q "clone one: disk disk: its base changed: $DIR/base.raw" "$DIR/log"
	run ! grep -q three "$DIR/log"
	[[ $(error_of one) == *"its base changed: $DIR/base.raw"* ]]
	[[ $(error_of two) == *"its base changed: $DIR/base.raw"* ]]
	[ "$(error_of three)" = none ]
	run ! cat "$MNT/one/disk.raw"
	cmp "$MNT/three/disk.raw" "$DIR/else.raw"
	tool_with 0 list
	[[ $stderr == *"clone one: its base changed"*"clone two: its base changed"* ]]
	[[ $stderr != *three* ]]
	[ "$(state_of "$DIR/base.raw")" = changed ]
	[ "$(state_of "$DIR/else.raw")" = ready ]
}

@test "a device written through another node is found within seconds" {
	local copy
	cp "$DIR/base.raw" "$DIR/device.img"
	LOOP=$(losetup -f --show "$DIR/device.img")
	disk one "$LOOP"
	state_is "$LOOP" ready
	copy=$DIR/node
	mknod "$copy" b "$((0x$(stat -c %t "$LOOP")))" "$((0x$(stat -c %T "$LOOP")))"
	printf X | dd of="$copy" bs=1 seek=100 conv=notrunc,fsync status=none
	wait_for state_is "$LOOP" changed
	run ! cat "$MNT/one/disk.raw"
	# Behind the device's page cache, as another host would write it.
	tool umount -q
	tool -q rm one
	disk two "$LOOP"
	state_is "$LOOP" ready
	printf Y | dd of="$DIR/device.img" bs=1 seek=200 conv=notrunc,fsync status=none
	wait_for state_is "$LOOP" changed
	tool umount -q
}

@test "relink: a base moved to another file system, its clones in two stores go on" {
	local new
	new=$(mktemp -d /dev/shm/lazyclone-XXXXXX)
	disk one "$DIR/base.raw"
	disk two "$DIR/base.raw" "$OTHER"
	disk three "$DIR/else.raw"
	printf mine | dd of="$MNT/one/disk.raw" bs=1 seek=70000 conv=notrunc,fsync status=none
	tool base verify --full "$DIR/base.raw"
	tool --store "$OTHER" umount -q
	cp --sparse=always "$DIR/base.raw" "$new/base.raw"
	mv "$DIR/base.raw" "$DIR/kept.raw"
	state_is "$DIR/base.raw" moved

	# What holds something else is refused, and nothing is changed.
	cp "$new/base.raw" "$new/wrong.raw"
	printf X | dd of="$new/wrong.raw" bs=1 seek=3 conv=notrunc status=none
	tool_with 11 base relink "$DIR/base.raw" "$new/wrong.raw"
	[[ $stderr == *"$new/wrong.raw does not hold what $DIR/base.raw held"*"byte 0 and 65536"* ]]
	tool_with 11 base relink "$DIR/base.raw" "$DIR/else.raw"
	tool_with 3 base relink "$DIR/base.raw" "$new/nowhere.raw"
	tool_with 3 base relink "$DIR/nowhere.raw" "$new/nowhere.raw"
	# So is what is in use.
	exec 7<"$MNT/one/disk.raw"
	tool_with 4 base relink "$DIR/base.raw" "$new/base.raw"
	[[ $stderr == *"clone one "*"is in use"* ]]
	exec 7<&-
	[ "$(tool --json base info "$DIR/base.raw" | jq '.[0].clones | length')" -eq 2 ]

	wait_for tool base relink --full "$DIR/base.raw" "$new/base.raw"
	tool_with 0 --json base relink "$DIR/base.raw" "$new/base.raw"
	[ "$(jq -c '[.changed, .already]' <<<"$output")" = '[[],2]' ]
	rm "$DIR/kept.raw"
	state_is "$new/base.raw" ready
	[ "$(error_of one)" = none ]
	[ "$(dd if="$MNT/one/disk.raw" bs=1 skip=70000 count=4 status=none)" = mine ]
	cmp -n 70000 "$MNT/one/disk.raw" "$new/base.raw"
	cmp -i 70004 "$MNT/one/disk.raw" "$new/base.raw"
	tool --store "$OTHER" mount -q 3>&-
	PIDS+=("$(tool --store "$OTHER" --json status | jq .daemon.pid)")
	cmp "$OTHER-mnt/two/disk.raw" "$new/base.raw"
	# What was known of its content still is, under the new identity, and only that.
	tool_with 0 base verify --full "$new/base.raw"
	[ "$output" = "$new/base.raw: same (all of it)" ]
	[ "$(ls "$OTHER/bases" | wc -l)" -eq 1 ]
	tool --store "$OTHER" umount -q
	stop_daemon
	rm -r "$new"
}

@test "relink in place: a file that was restored, with another time and inode" {
	disk one "$DIR/base.raw"
	tool umount -q
	cp --sparse=always "$DIR/base.raw" "$DIR/copy.raw"
	mv "$DIR/copy.raw" "$DIR/base.raw"
	tool_with 11 base verify
	[[ $stderr == *"hint: "*"lazyclone base relink $DIR/base.raw $DIR/base.raw"* ]]
	tool_with 0 base relink "$DIR/base.raw" "$DIR/base.raw"
	tool_with 0 base verify
	tool_with 0 base relink "$DIR/base.raw" "$DIR/base.raw"
	[[ $output == *"nothing to change"* ]]
	tool -q mount 3>&-
	PIDS+=("$(tool --json status | jq .daemon.pid)")
	cmp "$MNT/one/disk.raw" "$DIR/base.raw"
}

@test "relink of an image below others: every chain that has it follows, also under a daemon" {
	local want=$DIR/want.raw
	cd "$DIR"
	qemu-img create -q -f qcow2 -b base.raw -F raw mid.qcow2
	qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
	qemu-io -c 'write -P 7 1M 3M' mid.qcow2 >/dev/null
	qemu-io -c 'write -P 9 2M 5M' top.qcow2 >/dev/null
	qemu-img convert -O raw top.qcow2 "$want"
	tool -q clone --disk-only top.qcow2 --format qcow2 --backing mid.qcow2:qcow2 \
		--backing base.raw:raw one >/dev/null 3>&-
	PIDS+=("$(daemon_pid)")
	tool -q clone --disk-only mid.qcow2 --format qcow2 --backing base.raw:raw two >/dev/null
	tool_with 0 --json base info base.raw
	[ "$(jq -c '[.[] | [(.files | length), (.clones | length)]] | sort' <<<"$output")" = \
		'[[2,1],[3,1]]' ]
	mkdir sub
	mv base.raw sub/
	state_is "$DIR/top.qcow2" moved
	tool_with 0 base relink base.raw sub/base.raw
	state_is "$DIR/top.qcow2" ready
	state_is "$DIR/mid.qcow2" ready
	cmp "$MNT/one/disk.raw" "$want"
	# With no daemon it may be the image in the middle, and one after the other.
	tool umount -q
	mv mid.qcow2 sub/
	state_is "$DIR/top.qcow2" missing
	tool_with 0 base relink mid.qcow2 sub/mid.qcow2
	tool -q mount 3>&-
	PIDS+=("$(daemon_pid)")
	cmp "$MNT/one/disk.raw" "$want"
	tool_with 0 base verify --full
	[ "$(grep -c ': same' <<<"$output")" -eq 3 ]
}
