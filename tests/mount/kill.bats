#!/usr/bin/env bats
# The daemon is killed while four threads write through real mounts: nothing acknowledged is lost.
#
# KILLS= (default 12) rounds on the same four disks of two clones.

load helper

STAMPER=$BUILD_BIN/tests/mount/stamper
DISK_BYTES=4194304

setup() { mount_setup; }
teardown() {
	[ -z "${WRITER:-}" ] || kill -KILL "$WRITER" 2>/dev/null || true
	mount_teardown
}

files() { echo "$MNT"/{one,two}/vd{a,b}.raw; }
acked() { "$STAMPER" acked "$DIR/state"; }
acked_more() { [ "$(acked)" -gt "$1" ]; }

@test "a killed daemon loses nothing that was acknowledged, round after round" {
	local round kills=${KILLS:-12} before status
	"$STAMPER" make "$DIR/state" $DISK_BYTES "$DIR/base.img" 4
	clone make one "$DIR/base.img" "$DIR/base.img"
	clone make two "$DIR/base.img" "$DIR/base.img"
	for round in $(seq "$kills"); do
		serve
		# shellcheck disable=SC2046
		"$STAMPER" check "$DIR/state" $(files)
		before=$(acked)
		# shellcheck disable=SC2046
		"$STAMPER" write "$DIR/state" $(files) &
		WRITER=$!
		wait_for acked_more $((before + RANDOM % 4000))
		kill_daemon
		status=0
		wait "$WRITER" || status=$?
		WRITER=
		[ "$status" -eq 0 ]
		umount -l "$MNT"
	done
	serve
	# shellcheck disable=SC2046
	"$STAMPER" check "$DIR/state" $(files)
	stop_daemon
	"$BUILD_BIN/lazyclone-fsck" -n -f "$STORE"
	echo "# $kills kills, $(acked) acknowledged operations" >&3
}
