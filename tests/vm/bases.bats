#!/usr/bin/env bats
# bases.bats: images that machines need: removed only when nobody does; moved, whatever is killed.
# shellcheck disable=SC2154 # set by bats and the helpers
bats_require_minimum_version 1.5.0
load helper
load tiny
load steps

setup_file() { vm_setup_file; }
teardown_file() {
	LAZYCLONE_STORE=$VM_DIR/other lazyclone umount >/dev/null 2>&1 || true
	chattr -i "$VM_DIR/other-mnt" 2>/dev/null || true
	vm_teardown_file
}

setup() {
	web=$VM_PREFIX-web$BATS_TEST_NUMBER
	one=$VM_PREFIX-one
	two=$VM_PREFIX-two
	OTHER=$VM_DIR/other
}

@test "base rm: refused while a clone, a machine or a program needs the image" {
	local image=$VM_DIR/$web.raw
	tiny_define "$web"
	lazyclone -q clone "$web" "$one"
	lazyclone -q --store "$OTHER" clone --disk-only "$image" "$two"

	expect 4 lazyclone base rm "$image" </dev/null
	says "$image is needed by $two ($OTHER), $one ($LAZYCLONE_STORE)"
	qemu-img create -q -f raw "$VM_DIR/free.raw" 1M
	expect 2 lazyclone base rm "$VM_DIR/free.raw" </dev/null
	says "nobody is there to be asked"
	[ -e "$VM_DIR/free.raw" ]
	rm "$VM_DIR/free.raw"
	# By another name it is the same file.
	ln "$image" "$VM_DIR/link.raw"
	expect 4 lazyclone base rm --yes "$VM_DIR/link.raw"
	says "is needed by"
	rm "$VM_DIR/link.raw"
	lazyclone rm "$one"
	expect 4 lazyclone base rm --yes "$image"
	says "is needed by $two ($OTHER)"

	# A store that cannot be looked at may need it; one that is gone for good does not.
	lazyclone --store "$OTHER" umount -q
	mv "$OTHER" "$VM_DIR/away"
	expect 3 lazyclone base rm --yes "$image"
	says "store $OTHER may have clones that need it"
	[[ $stderr == *"--forget-missing"* ]]
	mv "$VM_DIR/away" "$OTHER"
	mv "$OTHER/clones/$two/manifest" "$VM_DIR/manifest"
	echo broken >"$OTHER/clones/$two/manifest"
	expect 12 lazyclone base rm --yes --forget-missing "$image"
	says "store $OTHER may have clones that need it"
	mv "$VM_DIR/manifest" "$OTHER/clones/$two/manifest"
	lazyclone --store "$OTHER" rm "$two"
	rm -r "$OTHER"

	expect 4 lazyclone base rm --yes --forget-missing "$image"
	says "$image is an image of the domain $web"
	[[ $stderr == *"virsh undefine $web"* ]]
	virsh undefine "$web" >/dev/null
	qemu-img create -q -f qcow2 -b "$image" -F raw "$VM_DIR/over.qcow2"
	tiny_xml "$web" "$VM_DIR/over.qcow2" | sed "s|type='raw'|type='qcow2'|" >"$VM_DIR/over.xml"
	virsh define "$VM_DIR/over.xml" >/dev/null
	expect 4 lazyclone base rm --yes --forget-missing "$image"
	says "$image is an image of the domain $web"
	virsh undefine "$web" >/dev/null

	lock_it "$image"
	expect 4 lazyclone base rm --yes --forget-missing "$image"
	says "is in use"
	kill "$locker" && wait "$locker" || true

	expect 10 lazyclone base rm --yes --forget-missing "$VM_DIR"
	expect 3 lazyclone base rm --yes --forget-missing "$VM_DIR/nothing.raw"
	[ -e "$image" ]
	expect 0 lazyclone base rm --yes --forget-missing "$image"
	[ "$output" = "$image: removed" ]
	[ ! -e "$image" ]
	# The store that is gone is forgotten.
	expect 0 lazyclone base list
	[[ $stderr != *"$OTHER"* ]]
	# What it was stacked on is not touched, and named.
	head -c 1M /dev/urandom >"$VM_DIR/lower.raw"
	qemu-img create -q -f qcow2 -b "$VM_DIR/lower.raw" -F raw "$VM_DIR/upper.qcow2"
	expect 0 lazyclone --json base rm --yes "$VM_DIR/upper.qcow2"
	[ "$(jq -r '.remaining[]' <<<"$output")" = "$VM_DIR/lower.raw" ]
	[ -e "$VM_DIR/lower.raw" ] && [ ! -e "$VM_DIR/upper.qcow2" ]
}

# A QEMU process that reads the image holds its locks until it is ended.
lock_it() {
	qemu-storage-daemon --blockdev "driver=file,filename=$1,node-name=f,read-only=on" \
		--chardev "socket,path=$VM_DIR/qsd,server=on,wait=off,id=c" --monitor chardev=c \
		--nbd-server "addr.type=unix,addr.path=$VM_DIR/nbd" \
		--export type=nbd,id=e,node-name=f 3>&- &
	locker=$!
	vm_until 20 test -S "$VM_DIR/nbd"
}

bases_of() { lazyclone --json base list | jq -r '.[] | .path as $p | .clones[] | "\(.clone) \($p)"' | sort; }

# Killed anywhere: each clone is on the one or on the other, the rest follows.
relinked_after() {
	[ "$(bases_of | sed "s| $old\$| X|; s| $new\$| X|")" = "$one X
$two X" ] || return 1
	[ "$code" -eq 0 ] || cut=$((cut + 1))
	[ "$(bases_of | cut -d' ' -f2 | sort -u | wc -l)" -ne 2 ] || between=$((between + 1))
	lazyclone -q base relink "$old" "$new" >/dev/null || return 1
	[ "$(bases_of)" = "$one $new
$two $new" ] || return 1
	[ "$(ls "$LAZYCLONE_STORE/bases" | wc -l)" -eq 1 ] || return 1
	cmp "$new" "$VM_MOUNT/$one/vda.raw" && lazyclone base verify >/dev/null || return 1
	mv "$new" "$old" && lazyclone -q base relink "$new" "$old" >/dev/null && mv "$old" "$new"
}

@test "base relink killed at each step: run again, it comes to its end" {
	local old=$VM_DIR/$web-old.raw new=$VM_DIR/$web-new.raw call total=0
	cut=0 between=0
	tiny_define "$web" "$old"
	lazyclone -q clone "$web" "$one"
	lazyclone -q --store "$OTHER" clone --disk-only "$old" "$two"
	# One is changed by its daemon, the other by the tool itself.
	lazyclone --store "$OTHER" umount -q
	mv "$old" "$new"
	# What is published, by a rename, and what is asked of the daemon.
	for call in renameat2 sendmsg recv; do
		STOPAT_CALL=$call steps_each kill relinked_after base relink "$old" "$new"
		total=$((total + steps))
	done
	echo "$total steps: $cut cut, $between between two stores"
	[ "$cut" -gt 5 ] && [ "$between" -gt 0 ]
	# Hydrate finds its way beside the new one.
	lazyclone -q base relink "$old" "$new"
	lazyclone -q hydrate "$one"
	[ -e "$VM_DIR/$one.raw" ]
	cmp "$new" "$VM_DIR/$one.raw"
	lazyclone --store "$OTHER" rm "$two"
}
