#!/usr/bin/env bats
# failing.bats: a device below the file system that really fails every write from some moment on.

load helper
setup() { real_setup; }
teardown() { real_teardown; }

# device FEATURE: ext4 with or without a journal on a device that can break.
device() {
	failing_device 256M
	make_fs ext4 "$DEVICE" -O "$1" -E lazy_itable_init=0,nodiscard
	mount_on "$DEVICE" "$DIR/live"
	export DIR MONITOR
	BREAK="bash -c '. $BATS_TEST_DIRNAME/helper.bash; device_breaks'"
}

check_all() {
	"$TINY" "$1" "$DIR/live" "$DIR/record" 0
}

@test "a flush that the device fails is EIO for good; opened again all flushed before is there" {
	# Without a journal the file system itself goes on.
	device ^has_journal
	"$TINY" fail "$DIR/live" "$DIR/record" "$BREAK"
	device_works
	# The same mount: the page cache still shows what is not on the device.
	check_all look
	umount "$DIR/live"
	end_device
}

@test "the same where the file system gives up too, after its own check" {
	device has_journal
	"$TINY" fail "$DIR/live" "$DIR/record" "$BREAK"
	device_works
	umount "$DIR/live"
	e2fsck -fy "$DEVICE" >/dev/null || [ $? -lt 4 ]
	mount_on "$DEVICE" "$DIR/live"
	check_all check
	umount "$DIR/live"
	end_device
}

@test "through the mount: fsync says EIO, the other clone's reads go on, nothing flushed is lost" {
	device ^has_journal
	STORE=$DIR/live/store
	mkdir "$DIR/mnt"
	head -c 1M /dev/urandom >"$DIR/base.raw"
	truncate -s 16M "$DIR/base.raw"
	"$BUILD_BIN/tests/mount/mkclone" make "$STORE" one "$DIR/base.raw"
	"$BUILD_BIN/tests/mount/mkclone" make "$STORE" two "$DIR/base.raw"
	serve
	head -c 2M /dev/urandom >"$DIR/kept"
	dd if="$DIR/kept" of="$DIR/mnt/one/vda.raw" bs=64k conv=notrunc,fsync status=none
	device_breaks
	run dd if=/dev/urandom of="$DIR/mnt/one/vda.raw" bs=64k count=64 seek=64 conv=notrunc,fsync
	[ "$status" -ne 0 ]
	[[ "$output" == *"Input/output error"* ]]
	cmp -n 1M "$DIR/base.raw" "$DIR/mnt/two/vda.raw"
	run dd if="$DIR/mnt/one/vda.raw" of=/dev/null bs=4k count=1
	[ "$status" -ne 0 ]
	device_works
	umount "$DIR/mnt"
	wait_for gone "$DAEMON"
	serve
	cmp -n 2M "$DIR/kept" "$DIR/mnt/one/vda.raw"
	umount "$DIR/mnt"
	wait_for gone "$DAEMON"
	wait_for umount "$DIR/live"
	end_device
}

serve() {
	"$BUILD_BIN/lazyclonefs" -f "$STORE" "$DIR/mnt" 3>&- &
	DAEMON=$!
	wait_for mountpoint -q "$DIR/mnt"
}
