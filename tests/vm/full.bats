#!/usr/bin/env bats
# full.bats: a full store pauses the guest, loses nothing, and the guest goes on once there is room.

bats_require_minimum_version 1.5.0
load helper

# The store on a file system of its own, most of it taken by something else.
setup_file() {
	vm_setup_file
	export SMALL=$VM_DIR/small
	export VM_MOUNT=$SMALL/mnt
	export LAZYCLONE_STORE=$SMALL/store
	truncate -s 512M "$VM_DIR/small.img"
	mkfs.ext4 -q -m 0 "$VM_DIR/small.img"
	losetup --find --show "$VM_DIR/small.img" >"$VM_DIR/loop"
	mkdir -m 0711 "$SMALL"
	mount "$(cat "$VM_DIR/loop")" "$SMALL"
	chmod 0711 "$SMALL"
	fallocate -l 420M "$SMALL/ballast"
	# Half of what it writes compresses away: more than fits.
	vm_define "$VM_PREFIX-web" lazyclone.write=128
}

teardown_file() {
	if [ -n "${SMALL:-}" ]; then
		vm_remove_domains || true
		vm_end_daemon || true
		umount "$SMALL" || umount -l "$SMALL" || true
		losetup -d "$(cat "$VM_DIR/loop")" || true
	fi
	vm_teardown_file
}

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
}

is_paused_by_io() { [[ "$(virsh domstate --reason "$one")" == "paused (I/O error)" ]]; }

@test "a full store pauses the guest" {
	lazyclone clone "$web" "$one"
	vm_start "$one"
	vm_until "$VM_WAIT_SEC" is_paused_by_io
	# Reads go on.
	dd if="$VM_MOUNT/$one/vda.raw" of=/dev/null bs=1M count=64 status=none
	run ! vm_console_shows "$one" 'FAILED|read-only|I/O error'
}

@test "with room again the guest goes on as if nothing had been" {
	rm "$SMALL/ballast"
	virsh resume "$one"
	vm_wait_off "$one"
	vm_until 10 vm_console_shows "$one" 'boot 1: done'
	run ! vm_console_shows "$one" 'FAILED|read-only|I/O error'
}

@test "what it wrote is there at the next boot" {
	lazyclone umount
	lazyclone mount
	run e2fsck -fn "$VM_MOUNT/$one/vda.raw"
	[ "$status" -eq 0 ]
	sed 's/lazyclone.write=128/lazyclone.write=1/' <(virsh dumpxml --inactive "$one") >"$VM_DIR/less.xml"
	virsh define "$VM_DIR/less.xml"
	vm_boot "$one"
	vm_log "$VM_MOUNT/$one/vda.raw" | grep 'boot 2: read back OK'
}
