#!/usr/bin/env bats
# errors.bats: bad input gets a clear error and its exit status, and leaves nothing behind.

bats_require_minimum_version 1.5.0
load helper
load tiny

setup_file() {
	vm_setup_file
	tiny_define "$VM_PREFIX-web"
	lazyclone clone "$VM_PREFIX-web" "$VM_PREFIX-one"
}

# The guard of a mount point outlives its mount.
teardown_file() {
	local dir
	for dir in "$VM_DIR"/user/mnt "$VM_DIR"/small "$VM_DIR"/narrow; do
		! mountpoint -q "$dir" || umount -l "$dir"
	done
	chattr -i "$VM_DIR"/*-mnt "$VM_DIR"/user/mnt 2>/dev/null || true
	[ ! -f "$VM_DIR/fuse-mode" ] || chmod "$(cat "$VM_DIR/fuse-mode")" /dev/fuse
	vm_teardown_file
}

setup() {
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	base=$VM_DIR/$web.raw
	before=$(tiny_left)
}

# Whatever a test made on purpose, it removed: so this holds after each one.
teardown() {
	tiny_unchanged
}

# What a refused command must not change.

# The tool as an ordinary user who has nothing but a directory.
as_nobody() {
	[ -f "$VM_DIR/fuse-mode" ] || stat -c %a /dev/fuse >"$VM_DIR/fuse-mode"
	chmod 0666 /dev/fuse
	install -d -o nobody -g nogroup "$VM_DIR/user"
	setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$VM_DIR/user" \
		XDG_RUNTIME_DIR="$VM_DIR/user" LIBVIRT_AUTOSTART=0 LAZYCLONE_STORE= \
		LAZYCLONE_STORES="$VM_DIR/user/stores" \
		"$VM_DIR/bin/lazyclone" --store "$VM_DIR/user/store" "$@"
}

nobodys_mount_is_dead() { [ "$(as_nobody --json status | jq -r .mount)" = dead ]; }

@test "unknown domain: 3" {
	expect 3 lazyclone clone "$VM_PREFIX-nobody" "$VM_PREFIX-new"
	says "$VM_PREFIX-nobody"
	expect 3 lazyclone clone 7b2c3d44-0000-4000-8000-123456789abc "$VM_PREFIX-new"
	expect 3 lazyclone info "$VM_PREFIX-nobody"
	says "$VM_PREFIX-nobody"
	expect 3 lazyclone rm "$VM_PREFIX-nobody"
	says "$VM_PREFIX-nobody"
	expect 3 lazyclone hydrate "$VM_PREFIX-nobody"
	says "$VM_PREFIX-nobody"
}

@test "running domain: 4" {
	tiny_define "$VM_PREFIX-busy"
	tiny_start "$VM_PREFIX-busy"
	expect 4 lazyclone clone "$VM_PREFIX-busy" "$VM_PREFIX-new"
	says "$VM_PREFIX-busy"
	[ ! -e "$LAZYCLONE_STORE/clones/$VM_PREFIX-new" ]
	virsh destroy "$VM_PREFIX-busy"
	virsh undefine "$VM_PREFIX-busy"
}

@test "name taken, by a domain or by a clone: 4" {
	expect 4 lazyclone clone "$web" "$web"
	says "$web"
	expect 4 lazyclone clone "$web" "$one"
	says "$one"
	expect 4 lazyclone clone --disk-only "$base" "$one"
	says "$one"
	tiny_unchanged
}

@test "a name that cannot be one: 2" {
	for name in a/b .hidden .. "$(printf 'a\nb')" "$(printf 'x%.0s' {1..250})" ''; do
		expect 2 lazyclone clone "$web" "$name"
		says ''
	done
	tiny_unchanged
}

@test "no space in the store: 9" {
	mkdir "$VM_DIR/small"
	mount -t tmpfs -o size=2M,mode=0711 lazyclone-test "$VM_DIR/small"
	lazyclone --store "$VM_DIR/small/store" mount
	tr '\0' x </dev/zero | dd of="$VM_DIR/small/full" bs=4k status=none 2>/dev/null || true
	expect 9 lazyclone --store "$VM_DIR/small/store" clone "$web" "$VM_PREFIX-new"
	says ''
	tiny_unchanged
	expect 9 lazyclone --store "$VM_DIR/small/store" clone --disk-only "$base" "$VM_PREFIX-new"
	rm "$VM_DIR/small/full"
	# The failed ones are no obstacle.
	lazyclone --store "$VM_DIR/small/store" clone "$web" "$VM_PREFIX-new"
	lazyclone --store "$VM_DIR/small/store" rm "$VM_PREFIX-new"
	[ "$(lazyclone --store "$VM_DIR/small/store" --json list | jq length)" -eq 0 ]
	lazyclone --store "$VM_DIR/small/store" umount
	umount "$VM_DIR/small"
}

@test "no space for the full image: 9, and the clone is as before" {
	mkdir -p "$VM_DIR/narrow"
	mount -t tmpfs -o size=1M,mode=0711 lazyclone-test "$VM_DIR/narrow"
	expect 9 lazyclone hydrate --to "$VM_DIR/narrow" "$one"
	says ''
	[ -z "$(ls -A "$VM_DIR/narrow")" ]
	[ "$(lazyclone --json info "$one" | jq -r .state)" = "shut off" ]
	cmp "$base" "$VM_MOUNT/$one/vda.raw"
	umount "$VM_DIR/narrow"
}

@test "base unreadable: 5" {
	install -m 0600 "$base" "$VM_DIR/secret.raw"
	expect 5 as_nobody clone --disk-only "$VM_DIR/secret.raw" new
	says secret.raw
	[ -z "$(ls -A "$VM_DIR/user/store/clones")" ]
	as_nobody umount
	rm "$VM_DIR/secret.raw"
}

@test "base gone before the clone is made: 11" {
	tiny_define "$VM_PREFIX-void"
	rm "$VM_DIR/$VM_PREFIX-void.raw"
	expect 11 lazyclone clone "$VM_PREFIX-void" "$VM_PREFIX-new"
	says "$VM_PREFIX-void.raw"
	virsh undefine "$VM_PREFIX-void"
}

@test "base changed under a clone: 11, by name, and other clones go on" {
	tiny_define "$VM_PREFIX-old"
	lazyclone clone "$VM_PREFIX-old" "$VM_PREFIX-two"
	printf changed | dd of="$VM_DIR/$VM_PREFIX-old.raw" conv=notrunc status=none
	vm_until 15 sh -c "! head -c 512 '$VM_MOUNT/$VM_PREFIX-two/vda.raw' >/dev/null 2>&1"
	expect 11 lazyclone hydrate "$VM_PREFIX-two"
	says "$VM_PREFIX-old.raw"
	lazyclone status | grep -F "$VM_PREFIX-old.raw" | grep changed
	cmp "$base" "$VM_MOUNT/$one/vda.raw"
	lazyclone rm "$VM_PREFIX-two"
	virsh undefine "$VM_PREFIX-old"
}

@test "base changed or gone while the daemon was away: 11, by name" {
	tiny_define "$VM_PREFIX-old"
	lazyclone clone "$VM_PREFIX-old" "$VM_PREFIX-two"
	lazyclone umount
	printf changed | dd of="$VM_DIR/$VM_PREFIX-old.raw" conv=notrunc status=none
	lazyclone mount
	expect 11 lazyclone hydrate "$VM_PREFIX-two"
	says "$VM_PREFIX-old.raw"
	lazyclone --json info "$VM_PREFIX-two" | jq -e '.disks[0].error | test("old.raw")'
	lazyclone umount
	rm "$VM_DIR/$VM_PREFIX-old.raw"
	lazyclone mount
	expect 11 lazyclone hydrate "$VM_PREFIX-two"
	says "$VM_PREFIX-old.raw"
	cmp "$base" "$VM_MOUNT/$one/vda.raw"
	lazyclone rm "$VM_PREFIX-two"
	virsh undefine "$VM_PREFIX-old"
}

@test "a store of a newer format: 12" {
	local store=$VM_DIR/newer verb
	lazyclone --store "$store" mount
	lazyclone --store "$store" umount
	sed -i 's/"version": 1/"version": 2/' "$store/lazyclone-store"
	for verb in list status doctor mount "clone $web $VM_PREFIX-new"; do
		# shellcheck disable=SC2086
		expect 12 lazyclone --store "$store" $verb
		says "$store"
	done
	[ -z "$(ls -A "$store/clones")" ]
	expect 12 "$BUILD_BIN/lazyclonefs" "$store" "$store-mnt"
	tiny_unchanged
}

@test "a damaged clone is refused by name: 12, and the others go on" {
	local dir=$LAZYCLONE_STORE/clones/$VM_PREFIX-bad
	lazyclone clone --disk-only "$base" "$VM_PREFIX-bad"
	lazyclone umount
	cp -p "$dir/manifest" "$VM_DIR/manifest"
	sed -i 's/"size_bytes": 8388608/"size_bytes": 8388096/; s/"size": 8388608/"size": 8388096/' "$dir/manifest"
	run ! cmp "$dir/manifest" "$VM_DIR/manifest"
	lazyclone mount
	lazyclone --json list | jq -e 'map(select(.name == "'"$VM_PREFIX-bad"'"))[0].state == "damaged"'
	lazyclone --json info "$VM_PREFIX-bad" | jq -e '.error | test("manifest")'
	lazyclone info "$VM_PREFIX-bad" | grep '^error: .*manifest'
	lazyclone list 2>&1 | grep "^lazyclone: clone $VM_PREFIX-bad: .*manifest"
	expect 12 lazyclone rm "$VM_PREFIX-bad"
	says "$VM_PREFIX-bad"
	cmp "$base" "$VM_MOUNT/$one/vda.raw"
	lazyclone umount
	cp -p "$VM_DIR/manifest" "$dir/manifest"
	lazyclone mount
	cmp "$base" "$VM_MOUNT/$VM_PREFIX-bad/disk.raw"
	lazyclone rm "$VM_PREFIX-bad"
}

@test "a directory that is no store: 12, and it stays as it is" {
	local verb
	mkdir "$VM_DIR/letters"
	echo dear >"$VM_DIR/letters/to-mother"
	for verb in list mount "clone $web $VM_PREFIX-new" "clone --disk-only $base new"; do
		# shellcheck disable=SC2086
		expect 12 lazyclone --store "$VM_DIR/letters" $verb
		says "$VM_DIR/letters"
	done
	[ "$(ls -A "$VM_DIR/letters")" = to-mother ]
	tiny_unchanged
}

@test "a second daemon on the same store: 4" {
	mkdir "$VM_DIR/elsewhere"
	expect 4 "$BUILD_BIN/lazyclonefs" "$LAZYCLONE_STORE" "$VM_DIR/elsewhere"
	[[ $stderr == "lazyclonefs: error: "* ]]
	expect 4 lazyclone mount "$VM_DIR/elsewhere"
	says "$VM_MOUNT"
	run ! mountpoint -q "$VM_DIR/elsewhere"
	cmp "$base" "$VM_MOUNT/$one/vda.raw"
}

@test "a mount point where another store is mounted: 4" {
	expect 4 lazyclone --store "$VM_DIR/store2" mount "$VM_MOUNT"
	says "another store is mounted there"
	cmp "$base" "$VM_MOUNT/$one/vda.raw"
}

@test "an ordinary user's dead mount is cleared too" {
	install -m 0644 "$base" "$VM_DIR/public.raw"
	as_nobody clone --disk-only "$VM_DIR/public.raw" disk
	kill -KILL "$(as_nobody --json status | jq .daemon.pid)"
	vm_until 10 nobodys_mount_is_dead
	expect 0 as_nobody mount
	[[ $stderr == *"clearing the dead mount at $VM_DIR/user/mnt"* ]]
	setpriv --reuid=nobody --regid=nogroup --clear-groups \
		cmp "$base" "$VM_DIR/user/mnt/disk/disk.raw"
	as_nobody rm disk
	kill -KILL "$(as_nobody --json status | jq .daemon.pid)"
	vm_until 10 nobodys_mount_is_dead
	expect 0 as_nobody umount
	run ! mountpoint -q "$VM_DIR/user/mnt"
	rm "$VM_DIR/public.raw"
}

@test "a mount point that is not empty: 4; one that is not there: 3" {
	mkdir "$VM_DIR/full"
	echo precious >"$VM_DIR/full/file"
	expect 4 lazyclone --store "$VM_DIR/store2" mount "$VM_DIR/full"
	says "$VM_DIR/full"
	[ "$(cat "$VM_DIR/full/file")" = precious ]
	expect 3 lazyclone --store "$VM_DIR/store2" mount "$VM_DIR/no-such-place"
	says "$VM_DIR/no-such-place"
	expect 4 lazyclone --store "$VM_DIR/store2" mount /proc
	says /proc
}

@test "libvirtd not running: 7" {
	install -m 0644 "$base" "$VM_DIR/public.raw"
	as_nobody clone --disk-only "$VM_DIR/public.raw" disk
	expect 7 as_nobody -c qemu:///session clone "$web" new
	says ''
	# What does not need libvirt goes on without it.
	as_nobody -c qemu:///session --json status | jq -e .libvirt_error
	as_nobody -c qemu:///session --json list | jq -e '.[0].name == "disk"'
	expect 1 as_nobody -c qemu:///session doctor
	[[ $output == *"failed   libvirt"* ]]
	as_nobody -c qemu:///session rm disk
	as_nobody umount
	rm "$VM_DIR/public.raw"
}

@test "another host, another driver: 10" {
	local uri
	for uri in qemu+ssh://root@192.0.2.1/system qemu+tcp://localhost/system \
		test:///default lxc:///system; do
		expect 10 lazyclone -c "$uri" clone "$web" "$VM_PREFIX-new"
		says ''
	done
	LIBVIRT_DEFAULT_URI=test:///default expect 10 lazyclone clone test new
	tiny_unchanged
}

@test "the original cannot be started, written or committed into while clones exist" {
	local sum
	sum=$(sha256sum <"$base")
	run virsh start "$web"
	[ "$status" -ne 0 ]
	[ "$(virsh domstate "$web")" = "shut off" ]
	run qemu-io -f raw -c 'write 0 4k' "$base"
	[ "$status" -ne 0 ]
	qemu-img create -q -f qcow2 -F raw -b "$base" "$VM_DIR/over.qcow2"
	qemu-io -f qcow2 -c 'write -P 7 0 64k' "$VM_DIR/over.qcow2"
	run qemu-img commit -q "$VM_DIR/over.qcow2"
	[ "$status" -ne 0 ]
	rm "$VM_DIR/over.qcow2"
	[ "$(sha256sum <"$base")" = "$sum" ]
	cmp "$base" "$VM_MOUNT/$one/vda.raw"
}

@test "an offline snapshot of the original does not change what clones see" {
	tiny_define "$VM_PREFIX-old"
	lazyclone clone "$VM_PREFIX-old" "$VM_PREFIX-two"
	cp "$VM_DIR/$VM_PREFIX-old.raw" "$VM_DIR/copy.raw"
	# Whether libvirt grants it is its affair: an overlay only reads the base.
	run virsh snapshot-create-as "$VM_PREFIX-old" s1 --disk-only
	cmp "$VM_DIR/copy.raw" "$VM_DIR/$VM_PREFIX-old.raw"
	cmp "$VM_DIR/copy.raw" "$VM_MOUNT/$VM_PREFIX-two/vda.raw"
	lazyclone rm "$VM_PREFIX-two"
	virsh undefine --snapshots-metadata "$VM_PREFIX-old"
	rm -f "$VM_DIR"/*.s1 "$VM_DIR/copy.raw"
}

@test "what is not lazyclone's is not removed" {
	run --separate-stderr lazyclone rm --force "$web"
	[ "$status" -eq 3 ] || [ "$status" -eq 5 ]
	says "$web"
	virsh dominfo "$web" >/dev/null
	[ -e "$base" ]
}
