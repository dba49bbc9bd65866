#!/usr/bin/env bats
# hydrate.bats: what the full image is, where it goes, what refuses, what waits.

bats_require_minimum_version 1.5.0
load helper
load tiny
load steps

setup_file() {
	vm_setup_file
	steps_define "$VM_PREFIX-web"
	lazyclone mount >/dev/null
	sha256sum "$VM_DIR/$VM_PREFIX-web.raw" >"$VM_DIR/base.sha256"
}

teardown_file() {
	local rc=0
	[ -z "${VM_DIR:-}" ] || sha256sum --quiet -c "$VM_DIR/base.sha256" || rc=1
	! mountpoint -q "$VM_DIR/small" || umount "$VM_DIR/small"
	vm_teardown_file
	return "$rc"
}

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	nvram=/var/lib/libvirt/qemu/nvram
	disk=$VM_MOUNT/$one/vda.raw
	before=$(tiny_left)
}

teardown() {
	lazyclone list --json | jq -r '.[].name' | xargs -r "$BUILD_BIN/lazyclone" rm --force
	virsh undefine --nvram "$one" >/dev/null 2>&1 || true
	rm -f "$VM_DIR/$one"*.raw
	tiny_unchanged
}

domain_disk() { virsh domblklist "$1" | awk -v t="$2" '$1 == t { print $2 }'; }
unfinished() { find "$VM_DIR" -name '.*lazyclone-*'; }

@test "the image: the clone's bytes, sparse, owner and mode as the original's" {
	chown 1234:2345 "$VM_DIR/$web.raw"
	chmod 0662 "$VM_DIR/$web.raw"
	lazyclone clone --base protect "$web" "$one"
	[ "$(stat -c %a "$VM_DIR/$web.raw")" = 440 ]
	head -c 70000 /dev/urandom | dd of="$disk" bs=4096 seek=600 conv=notrunc status=none
	cp "$disk" "$VM_DIR/expected"
	expect 0 lazyclone hydrate --json "$one"
	[ "$(domain_disk "$one" vda)" = "$VM_DIR/$one.raw" ]
	cmp "$VM_DIR/expected" "$VM_DIR/$one.raw"
	[ "$(stat -c '%u:%g %a' "$VM_DIR/$one.raw")" = "1234:2345 662" ]
	[ "$(($(stat -c %b "$VM_DIR/$one.raw") * 512))" -lt $((4 * 1024 * 1024)) ]
	[ ! -e "$VM_MOUNT/$one" ]
	expect 3 lazyclone info "$one"
	expect 5 lazyclone rm "$one"
	rm "$VM_DIR/expected"
	chown 0:0 "$VM_DIR/$web.raw"
	chmod 0644 "$VM_DIR/$web.raw"
}

@test "the definition: the original's driver, nothing of ours, its NVRAM kept" {
	virsh dumpxml --inactive "$web" >"$VM_DIR/original.xml"
	sed "s|<driver name='qemu' type='raw'/>|<driver name='qemu' type='raw' cache='writeback' \
discard='ignore' queues='2'/>|" "$VM_DIR/original.xml" >"$VM_DIR/changed.xml"
	virsh define "$VM_DIR/changed.xml" >/dev/null
	lazyclone clone "$web" "$one"
	virsh dumpxml --inactive "$one" | grep "cache='none'"
	lazyclone hydrate "$one"
	virsh dumpxml --inactive "$one" >"$VM_DIR/now.xml"
	grep -F "<driver name='qemu' type='raw' cache='writeback' discard='ignore' queues='2'/>" \
		"$VM_DIR/now.xml"
	run ! grep -E 'lazyclone[:.]|seclabel|backingStore|<metadata>' "$VM_DIR/now.xml"
	cmp "$VM_DIR/${web}_VARS.fd" "$nvram/${one}_VARS.fd"
	grep -F "$nvram/${one}_VARS.fd" "$VM_DIR/now.xml"
	virsh define "$VM_DIR/original.xml" >/dev/null
	rm "$VM_DIR/original.xml" "$VM_DIR/changed.xml" "$VM_DIR/now.xml"
}

@test "several disks: an image for each, named by target; --to puts them elsewhere" {
	head -c 1M /dev/urandom >"$VM_DIR/data.raw"
	tiny_xml "$VM_PREFIX-two" "$VM_DIR/$web.raw" | sed "s|</disk>|</disk><disk type='file' \
device='disk'><driver name='qemu' type='raw'/><source file='$VM_DIR/data.raw'/>\
<target dev='vdb' bus='virtio'/></disk>|" >"$VM_DIR/two.xml"
	virsh define "$VM_DIR/two.xml" >/dev/null
	mkdir "$VM_DIR/elsewhere"
	lazyclone clone "$VM_PREFIX-two" "$one"
	expect 0 lazyclone hydrate --to "$VM_DIR/elsewhere" "$one"
	[ "$(domain_disk "$one" vda)" = "$VM_DIR/elsewhere/$one-vda.raw" ]
	[ "$(domain_disk "$one" vdb)" = "$VM_DIR/elsewhere/$one-vdb.raw" ]
	cmp "$VM_DIR/$web.raw" "$VM_DIR/elsewhere/$one-vda.raw"
	cmp "$VM_DIR/data.raw" "$VM_DIR/elsewhere/$one-vdb.raw"
	virsh undefine "$VM_PREFIX-two" >/dev/null
	rm -r "$VM_DIR/elsewhere" "$VM_DIR/data.raw" "$VM_DIR/two.xml"
}

@test "a disk without a domain becomes a full image" {
	expect 0 lazyclone clone --disk-only "$VM_DIR/$web.raw" "$one"
	[ "$output" = "$VM_MOUNT/$one/disk.raw" ]
	echo written | dd of="$output" conv=notrunc status=none
	cp "$output" "$VM_DIR/expected"
	expect 0 lazyclone hydrate "$one"
	cmp "$VM_DIR/expected" "$VM_DIR/$one.raw"
	rm "$VM_DIR/expected"
}

@test "refused, and the clone is as before: running, image there, no space, no directory" {
	lazyclone clone "$web" "$one"
	echo theirs >"$VM_DIR/$one.raw"
	expect 4 lazyclone hydrate "$one"
	says "$VM_DIR/$one.raw"
	[ "$(cat "$VM_DIR/$one.raw")" = theirs ]
	rm "$VM_DIR/$one.raw"

	mkdir -p "$VM_DIR/small"
	mount -t tmpfs -o size=17m none "$VM_DIR/small"
	expect 9 lazyclone hydrate --to "$VM_DIR/small" "$one"
	says "$VM_DIR/small"
	[ -z "$(ls -A "$VM_DIR/small")" ]
	umount "$VM_DIR/small"
	expect 3 lazyclone hydrate --to "$VM_DIR/nowhere" "$one"

	virsh start "$one" >/dev/null
	expect 4 lazyclone hydrate "$one"
	says running
	virsh destroy "$one" >/dev/null
	[ -z "$(unfinished)" ]
	[ "$(domain_disk "$one" vda)" = "$disk" ]
	cmp "$VM_DIR/$web.raw" "$disk"
	expect 0 lazyclone hydrate "$one"
	cmp "$VM_DIR/$web.raw" "$VM_DIR/$one.raw"
}

@test "the space runs out while copying: 9, the clone as before, nothing left" {
	lazyclone clone "$web" "$one"
	mount -t tmpfs -o size=30m none "$VM_DIR/small"
	# Halted before its first block; meanwhile somebody else fills the directory.
	steps_halt pwritev64 5 hydrate --to "$VM_DIR/small" "$one"
	head -c 29M /dev/zero >"$VM_DIR/small/filler" 2>/dev/null || true
	head -c 2M /dev/zero >>"$VM_DIR/small/filler" 2>/dev/null || true
	steps_resume
	cat "$VM_DIR/said"
	[ "$code" -eq 9 ]
	[ "$(ls -A "$VM_DIR/small")" = filler ]
	umount "$VM_DIR/small"
	[ "$(domain_disk "$one" vda)" = "$disk" ]
	cmp "$VM_DIR/$web.raw" "$disk"
}

@test "while it copies, the clone cannot start, and no other command touches it" {
	lazyclone clone "$web" "$one"
	steps_halt virDomainDefineXMLFlags 1 hydrate "$one"
	run virsh start "$one"
	[ "$status" -ne 0 ]
	[[ $output == *lock* ]]
	expect 4 lazyclone hydrate "$one"
	says "another lazyclone command"
	expect 4 lazyclone rm "$one"
	[ "$(virsh domstate "$one")" = "shut off" ]
	steps_resume
	[ "$code" -eq 0 ]
	cmp "$VM_DIR/$web.raw" "$VM_DIR/$one.raw"
	virsh start "$one" >/dev/null
	virsh destroy "$one" >/dev/null
}

@test "killed before the definition; the clone ran and wrote; the next run copies anew" {
	lazyclone clone "$web" "$one"
	steps_kill virDomainDefineXMLFlags 1 hydrate "$one"
	[ -e "$VM_DIR/$one.raw" ]
	echo "written since" | dd of="$disk" conv=notrunc status=none
	cp "$disk" "$VM_DIR/expected"
	expect 0 lazyclone hydrate "$one"
	cmp "$VM_DIR/expected" "$VM_DIR/$one.raw"
	rm "$VM_DIR/expected"
	[ -z "$(unfinished)" ]
}

@test "killed after the definition; the machine runs on its image; the next run only drops the delta" {
	lazyclone clone "$web" "$one"
	# Renames: the record twice, the image, the record; the domain is defined; the record.
	steps_kill renameat2 5 hydrate "$one"
	[ "$(domain_disk "$one" vda)" = "$VM_DIR/$one.raw" ]
	virsh start "$one" >/dev/null
	expect 0 lazyclone hydrate "$one"
	[ "$(virsh domstate "$one")" = running ]
	virsh destroy "$one" >/dev/null
	[ ! -e "$LAZYCLONE_STORE/clones/$one" ]
	cmp "$VM_DIR/$web.raw" "$VM_DIR/$one.raw"
}
