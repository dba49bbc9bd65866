#!/usr/bin/env bats
# protect.bats: an original that is not copied cannot be written, and has its mode back in the end.

# shellcheck disable=SC2154 # set by run, and by steps.bash
bats_require_minimum_version 1.5.0
load helper
load tiny
load steps

setup_file() {
	vm_setup_file
	tiny_define "$VM_PREFIX-web"
	chmod 0664 "$VM_DIR/$VM_PREFIX-web.raw"
	lazyclone mount >/dev/null
}

teardown_file() {
	virsh pool-destroy "$VM_PREFIX-pool" >/dev/null 2>&1
	LAZYCLONE_STORE=$VM_DIR/other/store lazyclone umount 2>/dev/null
	chattr -i "$VM_DIR"/*.raw "$VM_DIR/other/mnt" 2>/dev/null
	vm_teardown_file
}

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	two=$VM_PREFIX-two
	image=$VM_DIR/$web.raw
	# What a start that failed has done to the owner is libvirt's.
	chown root:root "$image"
	before=$(left)
}

teardown() { diff <(echo "$before") <(left); }

mode() { stat -c %a "$image"; }
left() { tiny_left | grep -vxE 'bases(/[0-9a-f]{16}\.json(\.tmp)?)?'; mode; }
refused() {
	"$@" >"$VM_DIR/refusal" 2>&1 || return 0
	echo "not refused: $*"
	return 1
}
clone_it() { lazyclone clone --base protect "$web" "$one" >/dev/null 2>&1; }
next_command() { expect 3 lazyclone rm "$VM_PREFIX-nobody"; }

@test "write bits go with the first clone and come back with the last one" {
	clone_it
	[ "$(mode)" = 444 ]
	lazyclone clone "$one" "$two" >/dev/null
	lazyclone rm "$one"
	[ "$(mode)" = 444 ]
	lazyclone umount
	refused virsh start "$web"
	lazyclone mount >/dev/null
	[ "$(lazyclone status --json | jq -r '.daemon.bases[0].state')" = ready ]
	lazyclone rm "$two"
	[ "$(mode)" = 664 ]
}

@test "of an original that is a link the file itself loses them, and has them back" {
	mv "$image" "$VM_DIR/behind.raw"
	ln -s behind.raw "$image"
	mode() { stat -Lc %a "$image"; }
	clone_it
	[ "$(mode)" = 444 ]
	lazyclone rm "$one"
	[ "$(mode)" = 664 ]
	lazyclone base protect "$image"
	[ "$(mode)" = 444 ]
	lazyclone base unprotect "$image"
	[ "$(mode)" = 664 ]
	mv -T "$VM_DIR/behind.raw" "$image"
}

@test "two stores: the last clone of the last one gives them back" {
	clone_it
	LAZYCLONE_STORE=$VM_DIR/other/store lazyclone clone --base protect --disk-only "$image" d >/dev/null
	lazyclone rm "$one"
	[ "$(mode)" = 444 ]
	LAZYCLONE_STORE=$VM_DIR/other/store lazyclone rm d
	[ "$(mode)" = 664 ]
}

@test "nothing that writes the original gets through: not a byte of it changes" {
	local base=$VM_DIR/base.qcow2 overlay=$VM_DIR/overlay.qcow2
	clone_it
	sum=$(sha256sum <"$image")
	refused virsh start "$web"
	refused virsh snapshot-create-as "$web" s --disk-only --diskspec vda,snapshot=external,file="$image"
	refused qemu-img resize -f raw "$image" 16M
	qemu-img create -q -f qcow2 -F raw -b "$image" "$overlay"
	qemu-io -c 'write -P 1 0 64K' "$overlay" >/dev/null
	refused qemu-img commit -q "$overlay"
	[ "$(sha256sum <"$image")" = "$sum" ]
	rm "$overlay"

	# A qcow2 original: a snapshot inside it is a write as well.
	qemu-img create -q -f qcow2 "$base" 8M
	lazyclone clone --base protect --format qcow2 --disk-only "$base" inner >/dev/null
	sum=$(sha256sum <"$base")
	refused qemu-img snapshot -c now "$base"
	tiny_xml "$VM_PREFIX-q" "$base" | sed "s/type='raw'/type='qcow2'/" >"$VM_DIR/q.xml"
	virsh define "$VM_DIR/q.xml" >/dev/null
	refused virsh snapshot-create-as "$VM_PREFIX-q" now
	[ "$(sha256sum <"$base")" = "$sum" ]
	virsh snapshot-delete "$VM_PREFIX-q" now 2>/dev/null || true
	[ "$(sha256sum <"$base")" = "$sum" ]
	virsh undefine "$VM_PREFIX-q" --snapshots-metadata >/dev/null
	lazyclone rm inner
	rm "$base"
	lazyclone rm "$one"
}

@test "a block commit into the original is refused, whoever asks" {
	local overlay=$VM_DIR/$VM_PREFIX-over.qcow2
	clone_it
	sum=$(sha256sum <"$image")
	qemu-img create -q -f qcow2 -F raw -b "$image" "$overlay"
	tiny_xml "$VM_PREFIX-over" "$overlay" | sed "s/type='raw'/type='qcow2'/" >"$VM_DIR/over.xml"
	virsh define "$VM_DIR/over.xml" >/dev/null
	virsh start "$VM_PREFIX-over" >/dev/null
	run virsh blockcommit "$VM_PREFIX-over" vda --active --wait --timeout 20
	[ "$status" -ne 0 ]
	[ "$(sha256sum <"$image")" = "$sum" ]
	virsh destroy "$VM_PREFIX-over"
	virsh undefine "$VM_PREFIX-over"
	rm "$overlay"
	lazyclone rm "$one"
}

@test "base protect and unprotect: by hand, refused while clones need it" {
	lazyclone base protect "$image"
	[ "$(mode)" = 444 ]
	clone_it
	lazyclone rm "$one"
	[ "$(mode)" = 444 ]
	lazyclone base unprotect "$image"
	[ "$(mode)" = 664 ]
	expect 3 lazyclone base unprotect "$image"

	clone_it
	expect 4 lazyclone base unprotect "$image"
	says "$one"
	[ "$(mode)" = 444 ]
	lazyclone base unprotect --force "$image"
	[ "$(mode)" = 664 ]
	lazyclone rm "$one"

}

@test "immutable, not even root writes it: vol-resize knows no image locks" {
	clone_it
	sum=$(sha256sum <"$image")
	lazyclone base protect --immutable "$image"
	virsh pool-create-as "$VM_PREFIX-pool" dir --target "$VM_DIR" >/dev/null
	refused virsh vol-resize "$web.raw" 16M --pool "$VM_PREFIX-pool"
	virsh pool-destroy "$VM_PREFIX-pool" >/dev/null
	refused truncate -s 16M "$image"
	refused rm "$image"
	[ "$(sha256sum <"$image")" = "$sum" ]
	lazyclone rm "$one"
	refused touch "$image"
	lazyclone base unprotect "$image"
	touch "$image"
}

given_back() {
	next_command
	[ ! -e "$LAZYCLONE_STORE/clones/$one" ] || lazyclone rm "$one" >/dev/null || return 1
	[ "$(left)" = "$before" ] && return
	diff <(echo "$before") <(left)
}

@test "clone killed at each step: write bits are back once nobody needs them" {
	steps_each kill given_back clone --base protect "$web" "$one"
	lazyclone rm "$one" >/dev/null
	[ "$steps" -gt 30 ]
}

rm_settled() {
	next_command
	if [ -e "$LAZYCLONE_STORE/clones/$one" ]; then
		[ "$(mode)" = 444 ]
		return
	fi
	[ "$(left)" = "$before" ] && return
	diff <(echo "$before") <(left)
}

@test "rm killed at each step: the same" {
	steps_before() { [ -e "$LAZYCLONE_STORE/clones/$one" ] || clone_it; }
	steps_each kill rm_settled rm "$one"
	[ "$steps" -gt 10 ]
}

unprotected_or_not() {
	case $(mode) in
	664) return ;;
	444) lazyclone base unprotect "$image" >/dev/null && [ "$(mode)" = 664 ] ;;
	*) mode; return 1 ;;
	esac
}

@test "base protect and unprotect killed at each step: the mode is the one or the other, never lost" {
	steps_each kill unprotected_or_not base protect "$image"
	steps_before() { lazyclone base protect "$image" >/dev/null; }
	steps_each kill unprotected_or_not base unprotect "$image"
}
