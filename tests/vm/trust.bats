#!/usr/bin/env bats
# trust.bats: no command acts on another user's word, nor on what somebody uses by now.

# shellcheck disable=SC2154 # set by run, and by steps.bash
bats_require_minimum_version 1.5.0
load helper
load tiny
load steps

setup_file() {
	vm_setup_file
	steps_define "$VM_PREFIX-web"
	lazyclone mount >/dev/null
}

teardown_file() {
	lazyclone --store "$VM_DIR/small/store" umount 2>/dev/null || true
	umount -l "$VM_DIR/small" 2>/dev/null || true
	chattr -i "$VM_DIR"/{elsewhere,theirs-mnt} 2>/dev/null || true
	vm_teardown_file
}

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	two=$VM_PREFIX-two
	image=$VM_DIR/$one.raw
	before=$(tiny_left)
}

teardown() {
	tiny_unchanged
}

domain_disk() { virsh domblklist "$1" | awk '$1 == "vda" { print $2 }'; }

@test "a store of another user is not opened, by root neither: its journal could name any file" {
	local theirs=$VM_DIR/theirs
	lazyclone --store "$theirs" mount >/dev/null
	lazyclone --store "$theirs" umount
	echo precious >"$VM_DIR/victim"
	echo "{\"what\": \"file\", \"path\": \"$VM_DIR/victim\"}" \
		>"$theirs/journal/00112233445566778899aabbccddeeff.json"
	chown -R 65534:65534 "$theirs"
	expect 5 lazyclone --store "$theirs" rm nobody
	says "belongs to another user (65534)"
	expect 5 lazyclone --store "$theirs" mount
	expect 5 lazyclone --store "$theirs" list
	[ "$(cat "$VM_DIR/victim")" = precious ]

	chown -R 0:0 "$theirs"
	chmod 0777 "$theirs"
	expect 5 lazyclone --store "$theirs" rm nobody
	says "everybody can write"
	[ "$(cat "$VM_DIR/victim")" = precious ]

	mkdir "$VM_DIR/empty"
	chown 65534 "$VM_DIR/empty"
	expect 5 lazyclone --store "$VM_DIR/empty" mount
	[ -z "$(ls -A "$VM_DIR/empty")" ]
	chattr -i "$theirs-mnt" 2>/dev/null || true
	rm -r "$theirs" "$theirs-mnt" "$VM_DIR/empty" "$VM_DIR/victim"
}

@test "the first clone says that the original cannot be started, the next one no more" {
	expect 0 lazyclone clone "$web" "$one"
	[[ $stderr == "lazyclone: $web cannot be started as long as its clones need its images"* ]]
	expect 0 lazyclone clone "$web" "$two"
	[ -z "$stderr" ]
	expect 0 lazyclone rm "$one" "$two"
	expect 0 lazyclone -q clone "$web" "$one"
	[ -z "$stderr" ]
	expect 0 lazyclone rm "$one"
}

@test "a clone that is being made cannot be taken by another command" {
	steps_halt virDomainDefineXMLFlags 1 clone "$web" "$one"
	expect 4 lazyclone rm "$one"
	says "another lazyclone command"
	expect 4 lazyclone hydrate "$one"
	steps_resume
	[ "$code" -eq 0 ]
	cmp "$VM_DIR/$web.raw" "$(domain_disk "$one")"
	expect 0 lazyclone rm "$one"
}

@test "killed behind the definition, then the mount moved: the machine and its writes stay" {
	local last
	lazyclone umount
	mkdir "$VM_DIR/elsewhere"
	"$BUILD_BIN/lazyclonefs" "$LAZYCLONE_STORE" "$VM_DIR/elsewhere" 3>&-
	for ((last = 1; ; last++)); do
		steps_kill pwritev64 "$last" clone "$web" "$one"
		! virsh domstate "$one" >/dev/null 2>&1 || break
		next_command
	done
	printf 'written since' | dd of="$VM_DIR/elsewhere/$one/vda.raw" conv=notrunc status=none
	cp "$VM_DIR/elsewhere/$one/vda.raw" "$VM_DIR/expected"
	lazyclone umount
	next_command
	[[ $stderr == *"finished the clone $one"* ]]
	lazyclone mount >/dev/null
	cmp "$VM_DIR/expected" "$VM_MOUNT/$one/vda.raw"
	expect 0 lazyclone rm "$one"
	rm "$VM_DIR/expected"
	chattr -i "$VM_DIR/elsewhere" 2>/dev/null || true
	rmdir "$VM_DIR/elsewhere"
}

@test "rm of a clone whose domain is gone leaves the whole image that hydrate had made" {
	lazyclone clone "$web" "$one"
	# As in hydrate.bats: the domain is defined on the image, the record says "copied".
	steps_kill renameat2 5 hydrate "$one"
	[ "$(domain_disk "$one")" = "$image" ]
	virsh undefine --keep-nvram "$one" >/dev/null
	tiny_define "$two" "$image"
	expect 0 lazyclone rm "$one"
	[[ $stderr == *"$image stays"* ]]
	cmp "$VM_DIR/$web.raw" "$image"
	virsh undefine "$two" >/dev/null
	rm "$image" "/var/lib/libvirt/qemu/nvram/${one}_VARS.fd"
}

@test "a disk without a domain, hydrated but not dropped: the image is never made anew unasked" {
	lazyclone clone --disk-only "$VM_DIR/$web.raw" "$one"
	exec 7<"$VM_MOUNT/$one/disk.raw"
	expect 4 lazyclone hydrate "$one"
	exec 7<&-
	[[ $stderr == *"hint: "*"lazyclone rm $one"* ]]
	printf 'written since' | dd of="$image" conv=notrunc status=none
	cp "$image" "$VM_DIR/expected"
	expect 4 lazyclone hydrate "$one"
	says "$image"
	expect 0 lazyclone rm "$one"
	cmp "$VM_DIR/expected" "$image"
	rm "$image" "$VM_DIR/expected"
}

@test "a base deleted while it is held is told, and the clone can still be saved" {
	lazyclone -q clone "$web" "$one"
	mv "$VM_DIR/$web.raw" "$VM_DIR/moved"
	expect 0 lazyclone list
	[[ $stderr == "lazyclone: clone $one: its base was moved or deleted"*"hydrate"* ]]
	[ "$(lazyclone status --json | jq -r '.daemon.bases[0].state')" = moved ]
	expect 1 lazyclone doctor -q
	[[ $output == *"clone $one, disk vda: its base was moved or deleted"* ]]
	expect 0 lazyclone hydrate "$one"
	cmp "$VM_DIR/moved" "$image"
	mv "$VM_DIR/moved" "$VM_DIR/$web.raw"
	virsh undefine --nvram "$one" >/dev/null
	rm "$image"

	lazyclone -q clone "$web" "$one"
	mv "$VM_DIR/$web.raw" "$VM_DIR/moved"
	cp "$VM_DIR/moved" "$VM_DIR/$web.raw"
	[ "$(lazyclone status --json | jq -r '.daemon.bases[0].state')" = moved ]
	mv "$VM_DIR/moved" "$VM_DIR/$web.raw"
	[ "$(lazyclone status --json | jq -r '.daemon.bases[0].state')" = ready ]
	expect 0 lazyclone rm "$one"
}

@test "an interrupt ends all of a command, not only the clone it is at" {
	lazyclone clone "$web" "$one"
	lazyclone clone "$web" "$two"
	STOPAT_CALL=renameat2 steps_run 1 int hydrate "$one" "$two"
	[ "$code" -eq 1 ]
	grep "$two: not tried: interrupted" "$VM_DIR/said"
	[ "$(domain_disk "$one")" = "$VM_MOUNT/$one/vda.raw" ]
	[ "$(domain_disk "$two")" = "$VM_MOUNT/$two/vda.raw" ]
	# rm ends what it began, and begins nothing more.
	STOPAT_CALL=virDomainUndefineFlags steps_run 1 int rm "$one" "$two"
	[ "$code" -eq 8 ]
	[ ! -e "$LAZYCLONE_STORE/clones/$one" ]
	[ "$(virsh domstate "$two")" = "shut off" ]
	expect 0 lazyclone rm "$two"
}

@test "hydrate in a full store says what is missing, and leaves the clone as it was" {
	local store=$VM_DIR/small/store
	mkdir "$VM_DIR/small"
	mount -t tmpfs -o size=4M none "$VM_DIR/small"
	lazyclone --store "$store" -q clone "$web" "$one"
	dd if=/dev/zero of="$VM_DIR/small/fill" bs=4K status=none 2>/dev/null || true
	expect 9 lazyclone --store "$store" hydrate "$one"
	[[ $stderr == *"hint: the store itself needs"* ]]
	[ ! -e "$image" ]
	rm "$VM_DIR/small/fill"
	expect 0 lazyclone --store "$store" hydrate "$one"
	cmp "$VM_DIR/$web.raw" "$image"
	lazyclone --store "$store" umount
	umount "$VM_DIR/small"
	rmdir "$VM_DIR/small"
	virsh undefine --nvram "$one" >/dev/null
	rm "$image"
}

@test "an image of another format is not taken for a raw disk" {
	local format way
	while read -r format way; do
		qemu-img create -q -f "$format" "$VM_DIR/image.$format" 8M
		expect 10 lazyclone clone --disk-only "$VM_DIR/image.$format" "$one"
		says "begins like a $format image"
		[[ $stderr == *"hint: "*"$way"* ]]
		rm "$VM_DIR/image.$format"
	done <<-WAYS
		qcow2 --format qcow2
		vmdk qemu-img convert
		vhdx qemu-img convert
	WAYS
}
