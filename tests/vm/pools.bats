#!/usr/bin/env bats
# pools.bats: sources on block devices and in storage pools, and what cannot be read.

bats_require_minimum_version 1.5.0
load helper
load tiny

setup_file() {
	vm_setup_file
	lazyclone mount
	mkdir "$VM_DIR/pool"
	pool_define "$VM_PREFIX-dir" "<pool type='dir'><name>$VM_PREFIX-dir</name>
		<target><path>$VM_DIR/pool</path></target></pool>"
}

teardown_file() {
	local pool link
	[ -n "${VM_DIR:-}" ] || return 0
	for pool in $(virsh pool-list --all --name | grep "^$VM_PREFIX"); do
		virsh pool-destroy "$pool" >/dev/null 2>&1
		virsh pool-undefine "$pool" >/dev/null
	done
	vm_remove_domains
	vm_end_daemon
	if [ -f "$VM_DIR/links" ]; then
		while read -r link; do
			rm "$link"
		done <"$VM_DIR/links"
	fi
	loops_detach
	vm_teardown_file
}

setup() {
	one=$VM_PREFIX-one
	web=$VM_PREFIX-web
}

# Each test removes what it made: rm is tested by that as well.
teardown() {
	lazyclone list --json | jq -r '.[].name' | xargs -r "$BUILD_BIN/lazyclone" rm --force
	vm_remove_domains
}

loops_detach() {
	local device
	for device in $(losetup -a | sed -n "s|^\(/dev/loop[0-9]*\):.*($VM_DIR/.*|\1|p"); do
		losetup -d "$device"
	done
}

pool_define() {
	echo "$2" >"$VM_DIR/pool.xml"
	virsh pool-define "$VM_DIR/pool.xml" >/dev/null
	virsh pool-start "$1" >/dev/null
}

# A shut-off machine with a disk of TYPE, its <source> and FORMAT as said.
source_define() {
	local name=$1 type=$2 source=$3 format=${4:-raw}
	virsh undefine "$name" >/dev/null 2>&1 || true
	tiny_xml "$name" "" | sed "s|<disk type='file'|<disk type='$type'|;
		s|<source file=''/>|$source|; s|type='raw'|type='$format'|" >"$VM_DIR/$name.xml"
	virsh define "$VM_DIR/$name.xml" >/dev/null
}

noise() { head -c "$2" /dev/urandom >"$1"; }
value() { virsh dumpxml --inactive "$1" | xmllint --xpath "string($2)" -; }

# The clone's disk is a raw file on the mount, and has the bytes of FILE.
is_clone_of() {
	[ "$(value "$1" //disk/@type)" = file ]
	[ "$(value "$1" //disk/driver/@type)" = raw ]
	[ "$(value "$1" //disk/source/@file)" = "$VM_MOUNT/$1/vda.raw" ]
	[ -z "$(value "$1" '//disk/source/@pool | //disk/source/@volume | //disk/source/@dev')" ]
	cmp "$VM_MOUNT/$1/vda.raw" "$2"
}

# The clone's own bytes; the base keeps its own.
overwrite() { dd if=/dev/urandom of="$1" bs=64k count=4 seek=3 conv=notrunc,fsync status=none; }

@test "a volume of a directory pool: the clone has the volume's file as its base" {
	virsh vol-create-as "$VM_PREFIX-dir" web.img 8M >/dev/null
	noise "$VM_DIR/pool/web.img" 8M
	source_define "$web" volume "<source pool='$VM_PREFIX-dir' volume='web.img'/>"
	expect 0 lazyclone clone --dry-run "$web" "$one"
	[[ $output == *"volume web.img of pool $VM_PREFIX-dir -> $VM_MOUNT/$one/vda.raw"* ]]
	lazyclone clone "$web" "$one"
	is_clone_of "$one" "$VM_DIR/pool/web.img"
	[ "$(lazyclone info "$one" --json | jq -r '.disks[0].base')" = "$VM_DIR/pool/web.img" ]
	# The volume is held like any base.
	run virsh start "$web"
	[ "$status" -ne 0 ]
	lazyclone hydrate "$one"
	cmp "$VM_DIR/pool/$one.raw" "$VM_DIR/pool/web.img"
	virsh undefine "$one"
	rm "$VM_DIR/pool/$one.raw"
}

@test "a block device: read-only, locked, and hydrated to where the user says" {
	local device
	noise "$VM_DIR/device.img" 8M
	device=$(losetup -f --show "$VM_DIR/device.img")
	source_define "$web" block "<source dev='$device'/>"
	expect 0 lazyclone clone "$web" "$one"
	[[ $stderr == *"do not start $web as long as its clones need its block device"* ]]
	is_clone_of "$one" "$device"
	[ "$(lazyclone info "$one" --json | jq -r '.disks[0].base')" = "$device" ]
	overwrite "$VM_MOUNT/$one/vda.raw"
	cmp "$device" "$VM_DIR/device.img"
	run ! cmp -s "$device" "$VM_MOUNT/$one/vda.raw"
	# Nobody writes to this node through QEMU meanwhile; libvirt's machines have nodes of
	# their own, which is why only the hook keeps one from starting.
	run qemu-io -f raw -c 'write 0 512' "$device"
	[ "$status" -ne 0 ]
	expect 2 lazyclone hydrate "$one"
	says "$device is a device, with no place beside it"
	[[ $stderr == *"hint: say where the full image belongs: --to DIRECTORY"* ]]
	cp "$VM_MOUNT/$one/vda.raw" "$VM_DIR/expected.raw"
	mkdir "$VM_DIR/full"
	lazyclone hydrate "$one" --to "$VM_DIR/full"
	cmp "$VM_DIR/full/$one.raw" "$VM_DIR/expected.raw"
	[ "$(value "$one" //disk/@type)" = file ]
	[ "$(value "$one" //disk/source/@file)" = "$VM_DIR/full/$one.raw" ]
	virsh undefine "$one"
	losetup -d "$device"
}

@test "a block device that a machine has open for writing: 4" {
	local device
	noise "$VM_DIR/device.img" 8M
	device=$(losetup -f --show "$VM_DIR/device.img")
	source_define "$web" block "<source dev='$device'/>"
	source_define "$VM_PREFIX-writer" block "<source dev='$device'/>"
	tiny_start "$VM_PREFIX-writer"
	expect 4 lazyclone clone "$web" "$one"
	says "disk vda: $device: the running domain $VM_PREFIX-writer writes to it"
	virsh destroy "$VM_PREFIX-writer"
	lazyclone clone "$web" "$one"
	lazyclone rm "$one"
	losetup -d "$device"
}

# The kernel's node of a partition. Where the kernel knows no partition tables, a loop device over
# the same bytes stands in for it under its name; libvirt and its parted read the real table.
partition_node() {
	local disk=$1 number=$2 offset=$3 size=$4
	[ ! -b "${disk}p$number" ] || return 0
	echo "# ${disk}p$number is stood in for: this kernel reads no partition tables" >&3
	ln -s "$(losetup -f --show -o "$offset" --sizelimit "$size" "$VM_DIR/parted.img")" \
		"${disk}p$number"
	echo "${disk}p$number" >>"$VM_DIR/links"
}

@test "a volume of a disk pool: a partition" {
	local disk
	noise "$VM_DIR/parted.img" 32M
	# A table of one Linux partition: sectors 2048 to 2048 + 16384.
	{
		head -c 446 /dev/zero
		printf '\0\0\0\0\x83\0\0\0\x00\x08\0\0\x00\x40\0\0'
		head -c 48 /dev/zero
		printf '\x55\xaa'
	} | dd of="$VM_DIR/parted.img" conv=notrunc status=none
	disk=$(losetup -f --show -P "$VM_DIR/parted.img")
	partition_node "$disk" 1 1048576 8388608
	pool_define "$VM_PREFIX-disk" "<pool type='disk'><name>$VM_PREFIX-disk</name>
		<source><device path='$disk'/><format type='dos'/></source>
		<target><path>/dev</path></target></pool>"
	source_define "$web" volume "<source pool='$VM_PREFIX-disk' volume='${disk#/dev/}p1'/>"
	lazyclone clone "$web" "$one"
	is_clone_of "$one" <(tail -c +1048577 "$VM_DIR/parted.img" | head -c 8M)
	[ "$(lazyclone info "$one" --json | jq -r '.disks[0].base')" = "${disk}p1" ]
}

@test "a pool or volume that is not there: 11, and how to get it" {
	source_define "$web" volume "<source pool='$VM_PREFIX-nowhere' volume='web.img'/>"
	expect 11 lazyclone clone "$web" "$one"
	says "disk vda: storage pool $VM_PREFIX-nowhere: no such pool"
	source_define "$web" volume "<source pool='$VM_PREFIX-dir' volume='nothing.img'/>"
	expect 11 lazyclone clone "$web" "$one"
	says "volume nothing.img of pool $VM_PREFIX-dir: no such volume"
	[[ $stderr == *"pool-refresh $VM_PREFIX-dir"* ]]
	virsh pool-destroy "$VM_PREFIX-dir" >/dev/null
	expect 11 lazyclone clone "$web" "$one"
	says "storage pool $VM_PREFIX-dir is not active"
	[[ $stderr == *"virsh -c qemu:///system pool-start $VM_PREFIX-dir"* ]]
	virsh pool-start "$VM_PREFIX-dir" >/dev/null
}

# Kept by libvirt's definition, so no server is needed to refuse it.
@test "images on the network and in other formats: 10, with the way out" {
	local protocol way
	while read -r protocol way; do
		source_define "$web" network "<source protocol='$protocol' name='pool/image'>\
<host name='localhost' port='10809'/></source>"
		expect 10 lazyclone clone "$web" "$one"
		says "images on the network cannot be cloned yet ($protocol)"
		[[ $stderr == *"hint: "*"$way"* ]]
	done <<-WAYS
		rbd rbd map
		nbd nbd-client
		iscsi iscsiadm
		gluster mount -t glusterfs
		https qemu-img convert
	WAYS
	source_define "$web" file "<source file='$VM_DIR/a.vmdk'/>" vmdk
	expect 10 lazyclone clone "$web" "$one"
	says "disk vda: only raw and qcow2 images can be cloned (vmdk)"
	[[ $stderr == *"hint: "*"qemu-img convert"* ]]
	source_define "$web" file "<source file='$VM_DIR/a.img'><slices>\
<slice type='storage' offset='0' size='4096'/></slices></source>"
	expect 10 lazyclone clone "$web" "$one"
	says "disk vda <slices>"
	[ ! -e "$LAZYCLONE_STORE/clones/$one" ]
}
