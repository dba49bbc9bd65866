#!/usr/bin/env bats
# hook.bats: libvirt's hook refuses an original whose clones need it, in words, and nothing else.

# shellcheck disable=SC2154 # set by run
bats_require_minimum_version 1.5.0
load helper
load tiny

setup_file() {
	vm_setup_file
	tiny_define "$VM_PREFIX-web"
	tiny_define "$VM_PREFIX-other"
	sed "s|@BINDIR@|$VM_DIR/bin|" "$VM_ROOT/contrib/libvirt-hook.in" >"$VM_DIR/hook"
	chmod 755 "$VM_DIR/hook"
	lazyclone clone --base protect "$VM_PREFIX-web" "$VM_PREFIX-one" >/dev/null
}

teardown_file() {
	[ ! -f "$VM_DIR/loop" ] || losetup -d "$(cat "$VM_DIR/loop")"
	vm_teardown_file
}

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
}

# As libvirt calls it: DOMAIN OPERATION [SUBOPERATION]
hook() {
	virsh dumpxml "$1" >"$VM_DIR/definition"
	run --separate-stderr "$VM_DIR/hook" "$1" "$2" "${3:-begin}" - <"$VM_DIR/definition"
	[ -z "$output" ]
}

device_define() {
	tiny_xml "$1" "" | sed "s|<disk type='file'|<disk type='block'|;
		s|<source file=''/>|<source dev='$2'/>|" >"$VM_DIR/$1.xml"
	virsh define "$VM_DIR/$1.xml" >/dev/null
}

refuses() { hook "$@" && [ "$status" -eq 1 ]; }
allows() { hook "$@" && [ "$status" -eq 0 ] && [ -z "$stderr" ]; }

@test "the original is refused, and told by whom it is needed" {
	refuses "$web" prepare
	[[ $stderr == *"$web cannot be started"*"vda"*"$one"* ]]
	[[ $stderr == *"start a clone instead"* ]]
	refuses "$web" restore
	refuses "$web" migrate
}

@test "clones, other domains and other operations pass" {
	allows "$one" prepare
	allows "$VM_PREFIX-other" prepare
	allows "$web" start
	allows "$web" prepare end
	allows "$web" release end
}

@test "no daemon is needed, and none is asked" {
	lazyclone umount
	refuses "$web" prepare
	[[ $stderr == *"$one"* ]]
	lazyclone mount
}

@test "another name of the image, another domain: it is the file that counts" {
	ln -sf "$VM_DIR/$web.raw" "$VM_DIR/link.raw"
	tiny_define "$VM_PREFIX-third" "$VM_DIR/link.raw"
	refuses "$VM_PREFIX-third" prepare
	virsh undefine "$VM_PREFIX-third"
}

# QEMU's locks do not keep a device: without the hook it would start.
@test "a block device, by whatever node" {
	local device on=$VM_PREFIX-device
	head -c 8M /dev/urandom >"$VM_DIR/device.img"
	losetup --find --show "$VM_DIR/device.img" >"$VM_DIR/loop"
	device=$(cat "$VM_DIR/loop")
	device_define "$on" "$device"
	allows "$on" prepare
	expect 0 lazyclone clone "$on" "$VM_PREFIX-two"
	[[ $stderr == *"do not start $on"*"hook"* ]]
	refuses "$on" prepare
	[[ $stderr == *"$on cannot be started: its disk vda, $device,"*"$VM_PREFIX-two"* ]]
	mknod "$VM_DIR/node" b "$(stat -c 0x%t "$device")" "$(stat -c 0x%T "$device")"
	device_define "$on-node" "$VM_DIR/node"
	refuses "$on-node" prepare
	lazyclone rm "$VM_PREFIX-two"
	allows "$on-node" prepare
}

@test "one that only reads it passes" {
	virsh dumpxml "$web" | sed "s|<target dev='vda'|<readonly/>&|" >"$VM_DIR/definition"
	run "$VM_DIR/hook" "$web" prepare begin - <"$VM_DIR/definition"
	[ "$status" -eq 0 ]
}

@test "whatever is broken, no start is kept" {
	local kept=$LAZYCLONE_STORE
	echo nonsense >"$VM_DIR/definition"
	run "$VM_DIR/hook" "$web" prepare begin - <"$VM_DIR/definition"
	[ "$status" -eq 0 ]
	run "$VM_DIR/hook" "$web" prepare begin - </dev/null
	[ "$status" -eq 0 ]
	mv "$VM_DIR/bin/lazyclone" "$VM_DIR/bin/away"
	allows "$web" prepare
	printf '#!/bin/sh\nexec sleep 60\n' >"$VM_DIR/bin/lazyclone"
	chmod 755 "$VM_DIR/bin/lazyclone"
	allows "$web" prepare
	mv "$VM_DIR/bin/away" "$VM_DIR/bin/lazyclone"
	lazyclone umount
	mv "$kept/lazyclone-store" "$kept/away"
	echo damaged >"$kept/lazyclone-store"
	allows "$web" prepare
	mv "$kept/away" "$kept/lazyclone-store"
	lazyclone mount
	refuses "$web" prepare
}

# A libvirtd of its own, with a place of its own for what libvirt keeps in /run and /etc.
@test "libvirt shows the hook's words" {
	local own=$VM_DIR/own
	mkdir -p "$own"/{run,etc,lib}
	cp -a /etc/libvirt/. "$own/etc/"
	mkdir -p "$own/etc/hooks/qemu.d"
	sed -e "s|^said=|LAZYCLONE_STORE=$LAZYCLONE_STORE LAZYCLONE_STORES=${LAZYCLONE_STORES:-}; export LAZYCLONE_STORE LAZYCLONE_STORES; &|" \
		"$VM_DIR/hook" >"$own/etc/hooks/qemu.d/lazyclone"
	chmod 755 "$own/etc/hooks/qemu.d/lazyclone"
	virsh dumpxml --inactive "$web" >"$own/web.xml"
	cat >"$own/inside" <<-SH
		mount --bind "$own/run" /run/libvirt && mount --bind "$own/etc" /etc/libvirt &&
			mount --bind "$own/lib" /var/lib/libvirt || exit 99
		trap 'kill \$(cat "$own/libvirtd.pid") \$(cat "$own/virtlogd.pid")' EXIT
		virtlogd -d -p "$own/virtlogd.pid" && libvirtd -d -p "$own/libvirtd.pid" || exit 98
		virsh -q -c qemu:///system define "$own/web.xml"
		virsh -q -c qemu:///system start "$web"
		echo "start: \$?"
	SH
	run unshare --mount --propagation slave bash "$own/inside" 3>&-
	echo "$output"
	[[ $output == *"start: 1"* ]]
	[[ $output == *"$web cannot be started"* ]]
	[[ $output == *"$one"* ]]
}
