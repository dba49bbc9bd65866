#!/usr/bin/env bats
# boot.bats: a real guest lives on a clone's disk: boots, writes, reads back, is hydrated.

bats_require_minimum_version 1.5.0
load helper

# Every test goes on where the former one ended; names of the original and of two clones.
setup_file() {
	vm_setup_file
	vm_define "$VM_PREFIX-web"
}

teardown_file() { vm_teardown_file; }

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	two=$VM_PREFIX-two
	base=$VM_DIR/$web.raw
}

disk() { echo "$VM_MOUNT/$1/vda.raw"; }

# The checksums in the guest's own log, of what it wrote.
written() { vm_log "$1" | sed -n 's/.* wrote .*sha256=//p'; }

@test "two clones of a real machine are made" {
	sha256sum <"$base" >"$VM_DIR/base.sha256"
	lazyclone clone "$web" "$one"
	lazyclone clone "$web" "$two"
	[ "$(virsh domstate "$one")" = "shut off" ]
	virsh dumpxml "$two" | grep -F "$(disk "$two")"
	cmp "$base" "$(disk "$one")"
}

@test "a clone boots from the mount and reads its own writes at the next boot" {
	vm_boot "$one"
	vm_boot "$one"
	vm_log "$(disk "$one")" | grep 'boot 2: read back OK'
	e2fsck -fn "$(disk "$one")"
}

@test "another clone sees nothing of it" {
	vm_boot "$two"
	vm_log "$(disk "$two")" | grep 'boot 1: nothing written before'
	run ! grep -F "$(written "$(disk "$two")")" <(written "$(disk "$one")")
	[ "$(written "$(disk "$one")" | wc -l)" -eq 2 ]
}

@test "two clones run at the same time" {
	rm -f "$VM_DIR/$one.console" "$VM_DIR/$two.console"
	vm_start "$one"
	vm_start "$two"
	vm_ends_well "$one"
	vm_ends_well "$two"
	vm_log "$(disk "$one")" | grep 'boot 3: done'
	vm_log "$(disk "$two")" | grep 'boot 2: done'
}

@test "the original cannot be started while clones need it" {
	run virsh start "$web"
	[ "$status" -ne 0 ]
	# Its write bits are taken away; what keeps even root out are QEMU's locks.
	[[ "$output" == *"Permission denied"* || "$output" == *lock* ]]
	[ "$(virsh domstate "$web")" = "shut off" ]
	# libvirt changed the image's owner and back: not a change of the base.
	vm_boot "$one"
}

@test "a guest goes on reading its disk after the daemon was restarted" {
	lazyclone umount
	run ! mountpoint -q "$VM_MOUNT"
	lazyclone mount
	vm_boot "$one"
	vm_log "$(disk "$one")" | grep 'boot 5: done'
}

@test "hydrate gives the bytes of the mounted disk" {
	qemu-img convert -f raw -O raw "$(disk "$one")" "$VM_DIR/mounted.raw"
	lazyclone hydrate "$one"
	image=$(virsh domblklist "$one" | awk '$1 == "vda" { print $2 }')
	[[ "$image" != "$VM_MOUNT"/* ]]
	qemu-img compare -f raw -F raw "$VM_DIR/mounted.raw" "$image"
	# Sparse: holes of the mounted disk are holes of the image.
	[ "$(du -k "$image" | cut -f1)" -lt $(($(stat -c %s "$image") / 1024 / 2)) ]
	[ ! -e "$VM_MOUNT/$one" ]
	run ! grep -iE 'lazyclone:|backingStore|relabel' <(virsh dumpxml --inactive "$one")
}

@test "the hydrated machine boots without the mount" {
	lazyclone umount
	vm_boot "$one"
	vm_log "$(virsh domblklist "$one" | awk '$1 == "vda" { print $2 }')" |
		grep 'boot 6: read back OK'
}

@test "the base is byte for byte what it was" {
	[ "$(sha256sum <"$base")" = "$(cat "$VM_DIR/base.sha256")" ]
}

@test "after the last clone is gone the original starts again" {
	lazyclone mount
	run virsh start "$web"
	[ "$status" -ne 0 ]
	lazyclone rm "$two"
	run ! virsh domstate "$two"
	vm_boot "$web"
	vm_log "$base" | grep 'boot 1: done'
}
