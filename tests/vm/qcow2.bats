#!/usr/bin/env bats
# qcow2.bats: machines on qcow2 images and their chains: cloned, booted, hydrated, or refused.

bats_require_minimum_version 1.5.0
load helper
load tiny

setup_file() {
	vm_setup_file
	lazyclone mount
}

teardown_file() {
	[ -n "${VM_DIR:-}" ] || return 0
	virsh pool-destroy "$VM_PREFIX-pool" >/dev/null 2>&1
	virsh pool-undefine "$VM_PREFIX-pool" >/dev/null 2>&1
	vm_teardown_file
}

setup() {
	one=$VM_PREFIX-one
	web=$VM_PREFIX-web
	cd "$VM_DIR" || return
}

# Each test removes what it made: rm is tested by that as well.
teardown() {
	lazyclone list --json | jq -r '.[].name' | xargs -r "$BUILD_BIN/lazyclone" rm --force
	vm_remove_domains
	rm -f "$VM_DIR"/*.qcow2 "$VM_DIR"/*.raw
}

create() { qemu-img create -q -f qcow2 "$@"; }
write() { qemu-io -f qcow2 -c "write -q -P $2 $3 $4" "$1" >/dev/null; }
value() { virsh dumpxml --inactive "$1" | xmllint --xpath "string($2)" -; }

# base.raw <- mid.qcow2 <- top.qcow2, each with something of its own; by relative names.
make_chain() {
	head -c 4M /dev/urandom >base.raw
	create -F raw -b base.raw mid.qcow2 8M
	write mid.qcow2 1 1M 200k
	create -F qcow2 -b mid.qcow2 top.qcow2
	write top.qcow2 2 1100k 64k
	qemu-img convert -O raw top.qcow2 expected.raw
}

# A shut-off machine on IMAGE of FORMAT; MORE goes behind its <source>.
image_define() {
	local name=$1 image=$2 format=${3:-qcow2} more=${4:-}
	virsh undefine "$name" >/dev/null 2>&1 || true
	tiny_xml "$name" "$image" |
		sed "s|type='raw'|type='$format'|; s|<target |$more&|" >"$VM_DIR/$name.xml"
	virsh define "$VM_DIR/$name.xml" >/dev/null
}

chain_xml() {
	printf '%s' "<backingStore type='file'><format type='qcow2'/><source file='$VM_DIR/mid.qcow2'/>" \
		"<backingStore type='file'><format type='raw'/><source file='$VM_DIR/base.raw'/>" \
		"<backingStore/></backingStore></backingStore>"
}

@test "a real guest on a compressed image over a chain: the clone boots, and is hydrated" {
	# The guest's disk below, a layer that says nothing, and compressed data on top.
	cp --sparse=always "$GUEST/root.raw" base.raw
	create -F raw -b base.raw mid.qcow2
	qemu-img convert -c -O qcow2 -F qcow2 -B mid.qcow2 -f raw base.raw top.qcow2
	[ "$(qemu-img info -f qcow2 --output json top.qcow2 | jq -r '."backing-filename"')" = mid.qcow2 ]
	chmod 0644 ./*.qcow2 base.raw
	sha256sum base.raw mid.qcow2 top.qcow2 >"$VM_DIR/sums"
	vm_xml "$web" "$VM_DIR/top.qcow2" |
		sed "s|type='raw'/>|type='qcow2' cache='writeback'/>|; s|<target |$(chain_xml)&|" >"$VM_DIR/$web.xml"
	virsh define "$VM_DIR/$web.xml" >/dev/null
	expect 0 lazyclone clone --dry-run "$web" "$one"
	[[ $output == *"the image $VM_DIR/top.qcow2 (qcow2)"*"below it $VM_DIR/mid.qcow2 (qcow2)"*"below it $VM_DIR/base.raw (raw)"* ]]
	lazyclone clone "$web" "$one"
	cmp "$VM_MOUNT/$one/vda.raw" base.raw
	[ "$(value "$one" //disk/driver/@type)" = raw ]
	[ "$(value "$one" 'count(//disk/backingStore/*)')" = 0 ]
	vm_boot "$one"
	vm_log "$VM_MOUNT/$one/vda.raw" | grep 'boot 1: done'
	sha256sum --quiet -c "$VM_DIR/sums"
	lazyclone hydrate "$one"
	[ "$(value "$one" //disk/driver/@type)" = raw ]
	[ "$(value "$one" //disk/driver/@cache)" = writeback ]
	[ "$(value "$one" //disk/source/@file)" = "$VM_DIR/$one.raw" ]
	e2fsck -fn "$VM_DIR/$one.raw"
	sha256sum --quiet -c "$VM_DIR/sums"
}

@test "a chain that nobody names: 10, and the option that allows it" {
	make_chain
	image_define "$web" "$VM_DIR/top.qcow2"
	expect 10 lazyclone clone "$web" "$one"
	says "disk vda: its image $VM_DIR/top.qcow2 names $VM_DIR/mid.qcow2"
	[[ $stderr == *"hint: if it is the right one: --backing $VM_DIR/mid.qcow2"* ]]
	expect 10 lazyclone clone "$web" "$one" --backing mid.qcow2
	[[ $stderr == *"--backing $VM_DIR/base.raw"* ]]
	# Another file than the image names helps nobody.
	expect 10 lazyclone clone "$web" "$one" --backing mid.qcow2 --backing expected.raw
	create spare.qcow2 1M
	expect 2 lazyclone clone "$web" "$one" --backing mid.qcow2 --backing base.raw --backing spare.qcow2
	says "--backing spare.qcow2: no image to clone asks for that file"
	[ ! -e "$LAZYCLONE_STORE/clones/$one" ]
	lazyclone clone "$web" "$one" --backing mid.qcow2 --backing base.raw:raw
	cmp "$VM_MOUNT/$one/vda.raw" expected.raw
	[ "$(lazyclone info "$one" --json | jq -r '[.disks[0].images[].path] | join(" ")')" = \
		"$VM_DIR/top.qcow2 $VM_DIR/mid.qcow2 $VM_DIR/base.raw" ]
}

@test "a chain that libvirt's pool knows needs no option" {
	make_chain
	echo "<pool type='dir'><name>$VM_PREFIX-pool</name><target><path>$VM_DIR</path></target></pool>" >pool.xml
	virsh pool-define pool.xml >/dev/null
	virsh pool-start "$VM_PREFIX-pool" >/dev/null
	image_define "$web" "$VM_DIR/top.qcow2"
	lazyclone clone "$web" "$one"
	cmp "$VM_MOUNT/$one/vda.raw" expected.raw
	virsh pool-destroy "$VM_PREFIX-pool" >/dev/null
	# A clone of the clone has the same base, which is asked for no more.
	lazyclone clone "$one" "$VM_PREFIX-two"
	cmp "$VM_MOUNT/$VM_PREFIX-two/vda.raw" expected.raw
}

@test "a domain that names another chain than the image: 10" {
	make_chain
	cp base.raw other.raw
	image_define "$web" "$VM_DIR/top.qcow2" qcow2 "$(chain_xml | sed s/base.raw/other.raw/)"
	expect 10 lazyclone clone "$web" "$one" --backing base.raw
	says "names $VM_DIR/base.raw as its backing image, the domain $VM_DIR/other.raw"
	image_define "$web" "$VM_DIR/top.qcow2" qcow2 '<backingStore/>'
	expect 10 lazyclone clone "$web" "$one" --backing mid.qcow2 --backing base.raw
	says "the domain nothing"
}

@test "a raw disk is raw, whatever a guest wrote into it" {
	create -F raw -b /etc/hostname evil.qcow2 1M
	truncate -s 256k evil.qcow2
	image_define "$web" "$VM_DIR/evil.qcow2" raw
	lazyclone clone "$web" "$one"
	cmp "$VM_MOUNT/$one/vda.raw" evil.qcow2
	expect 10 lazyclone clone --disk-only evil.qcow2 "$VM_PREFIX-two"
	says "begins like a qcow2 image"
	lazyclone clone --disk-only evil.qcow2 --format raw "$VM_PREFIX-two"
	cmp "$VM_MOUNT/$VM_PREFIX-two/disk.raw" evil.qcow2
	expect 10 lazyclone clone --disk-only evil.qcow2 --format qcow2 "$VM_PREFIX-three"
	says "/etc/hostname"
}

@test "each file of the chain is held; one that a machine writes to: 4" {
	local file
	make_chain
	image_define "$web" "$VM_DIR/top.qcow2" qcow2 "$(chain_xml)"
	for file in top.qcow2 mid.qcow2 base.raw; do
		image_define "$VM_PREFIX-writer" "$VM_DIR/$file" raw
		tiny_start "$VM_PREFIX-writer"
		expect 4 lazyclone clone "$web" "$one"
		says "$VM_DIR/$file"
		virsh destroy "$VM_PREFIX-writer"
	done
	expect 0 lazyclone clone "$web" "$one"
	[[ $stderr == *"$web cannot be started"* ]]
	for file in top.qcow2 mid.qcow2 base.raw; do
		run qemu-io -f raw -c 'write 0 512' "$file"
		[ "$status" -ne 0 ]
	done
	cmp "$VM_MOUNT/$one/vda.raw" expected.raw
}

@test "an image alone: a chain, a snapshot, a data file" {
	make_chain
	path=$(lazyclone clone --disk-only top.qcow2 --format qcow2 --backing mid.qcow2 --backing base.raw "$one")
	cmp "$path" expected.raw
	create snap.qcow2 2M
	write snap.qcow2 3 0 64k
	qemu-img convert -O raw snap.qcow2 then.raw
	qemu-img snapshot -c before snap.qcow2
	write snap.qcow2 4 0 64k
	path=$(lazyclone clone --disk-only snap.qcow2 --format qcow2 --image-snapshot before "$VM_PREFIX-then")
	cmp "$path" then.raw
	lazyclone info "$VM_PREFIX-then" | grep -F "snap.qcow2 (qcow2), snapshot before"
	path=$(lazyclone clone --disk-only snap.qcow2 --format qcow2 --image-snapshot 1 "$VM_PREFIX-id")
	cmp "$path" then.raw
	expect 3 lazyclone clone --disk-only snap.qcow2 --format qcow2 --image-snapshot never "$VM_PREFIX-no"
	says never
	head -c 3000 snap.qcow2 >cut.qcow2
	expect 10 lazyclone clone --disk-only cut.qcow2 --format qcow2 "$VM_PREFIX-no"
	says "qemu-img check"
	create -o data_file=data.raw outside.qcow2 1M
	write outside.qcow2 5 0 64k
	qemu-img convert -O raw outside.qcow2 inside.raw
	expect 10 lazyclone clone --disk-only outside.qcow2 --format qcow2 "$VM_PREFIX-no"
	says "names the data file $VM_DIR/data.raw"
	[[ $stderr == *"hint: if it is the right one: --data-file $VM_DIR/data.raw"* ]]
	path=$(lazyclone clone --disk-only outside.qcow2 --format qcow2 --data-file data.raw "$VM_PREFIX-out")
	cmp "$path" inside.raw
}

@test "wrong use of the image's options: 2" {
	create lone.qcow2 1M
	image_define "$web" "$VM_DIR/lone.qcow2"
	expect 2 lazyclone clone "$web" --format qcow2
	expect 2 lazyclone clone "$web" --image-snapshot a
	expect 2 lazyclone clone --disk-only lone.qcow2 --format vmdk "$one"
	says "--format vmdk"
	expect 2 lazyclone clone --disk-only lone.qcow2 --image-snapshot a "$one"
	expect 3 lazyclone clone "$web" --backing nowhere.raw
	says "--backing nowhere.raw"
}

@test "a domain with internal snapshots: 10" {
	create lone.qcow2 8M
	image_define "$web" "$VM_DIR/lone.qcow2"
	virsh snapshot-create-as "$web" before >/dev/null
	expect 10 lazyclone clone "$web" "$one"
	says "domain $web: it has snapshots"
	virsh snapshot-delete "$web" before >/dev/null
	lazyclone clone "$web" "$one"
}
