#!/usr/bin/env bats
# session.bats: an ordinary user clones, boots and hydrates a qemu:///session machine, without privilege.

bats_require_minimum_version 1.5.0
load helper

# A user made for this file; its home holds everything.
setup_file() {
	vm_setup_file
	stat -c %a /dev/fuse >"$VM_DIR/fuse-mode"
	chmod 0666 /dev/fuse
	export VM_URI=qemu:///session
	export VM_USER=lct${VM_DIR##*-}
	VM_USER=${VM_USER,,}
	useradd --system --create-home --home-dir "$VM_DIR/home" --shell /bin/sh "$VM_USER"
	export VM_IMAGES=$VM_DIR/home/images
	export VM_MOUNT=$VM_DIR/home/.local/share/lazyclone/mnt
	install -d -m 700 -o "$VM_USER" "$VM_IMAGES" "$VM_DIR/run"
	vm_define "$VM_PREFIX-web"
	chown "$VM_USER" "$VM_IMAGES/$VM_PREFIX-web.raw"
}

teardown_file() {
	[ -n "${VM_USER:-}" ] || { vm_teardown_file; return; }
	vm_remove_domains || true
	lazyclone umount || true
	# Only this user's processes: session daemons of libvirt, ours if it hangs.
	for signal in TERM KILL; do
		for pid in $(pgrep -u "$VM_USER"); do
			kill -$signal "$pid" 2>/dev/null || true
		done
		vm_until 5 no_process_left && break
	done
	umount -l "$VM_MOUNT" 2>/dev/null || true
	chattr -i "$VM_MOUNT" 2>/dev/null || true
	chmod "$(cat "$VM_DIR/fuse-mode")" /dev/fuse
	userdel "$VM_USER"
	unset VM_URI
	vm_teardown_file
}

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
}

no_process_left() { ! pgrep -u "$VM_USER" >/dev/null; }

as_user() {
	(cd "$VM_DIR/home" && exec runuser -u "$VM_USER" -- env -i PATH="$PATH" HOME="$VM_DIR/home" \
		XDG_RUNTIME_DIR="$VM_DIR/run" "$@")
}
virsh() { as_user virsh -q -c qemu:///session "$@" 3>&-; }
lazyclone() { as_user "$VM_DIR/bin/lazyclone" "$@" 3>&-; }
disk() { echo "$VM_MOUNT/$1/vda.raw"; }
# Root may not look into a user's FUSE mount.
log_of() { as_user debugfs -R 'cat /var/log/lazyclone-guest.log' "$1" 2>/dev/null; }

@test "an ordinary user's clone boots twice from the mount" {
	sha256sum <"$VM_IMAGES/$web.raw" >"$VM_DIR/base.sha256"
	lazyclone clone "$web" "$one"
	vm_boot "$one"
	vm_boot "$one"
	log_of "$(disk "$one")" | grep 'boot 2: read back OK'
}

@test "the mount is the user's alone" {
	as_user test -r "$(disk "$one")"
	run ! ls "$VM_MOUNT"
}

@test "a snapshot of it becomes a machine, and a reset goes back to it" {
	local two=$VM_PREFIX-two
	lazyclone snapshot "$one" before
	vm_boot "$one"
	lazyclone clone "$one" "$two" --snapshot before
	lazyclone reset "$one"
	as_user cmp "$(disk "$one")" "$(disk "$two")"
	vm_boot "$two"
	log_of "$(disk "$two")" | grep 'boot 3: read back OK'
	lazyclone check "$one" "$two"
	lazyclone rm "$two"
}

@test "it is hydrated and boots without the mount" {
	as_user qemu-img convert -f raw -O raw "$(disk "$one")" "$VM_DIR/home/mounted.raw"
	lazyclone hydrate "$one"
	lazyclone umount
	image=$(virsh domblklist "$one" | awk '$1 == "vda" { print $2 }')
	as_user qemu-img compare -f raw -F raw "$VM_DIR/home/mounted.raw" "$image"
	vm_boot "$one"
	log_of "$image" | grep 'boot 3: read back OK'
}

@test "the base is byte for byte what it was" {
	[ "$(sha256sum <"$VM_IMAGES/$web.raw")" = "$(cat "$VM_DIR/base.sha256")" ]
}
