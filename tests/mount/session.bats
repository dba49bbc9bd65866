#!/usr/bin/env bats
# Session mode: an ordinary user, no privilege but fusermount3's.

load helper

setup() {
	mount_setup
	FUSE_MODE=$(stat -c %a /dev/fuse)
	chmod 0666 /dev/fuse
	chmod 0711 "$DIR"
	PLAYER=lct-${DIR##*-}
	useradd --no-create-home --home-dir "$DIR/home" --shell /bin/sh "$PLAYER"
	# The programs may be built where others cannot look.
	cp "$BUILD_BIN/lazyclonefs" "$BUILD_BIN/tests/mount/mkclone" "$DIR/"
	mkdir "$DIR/home" "$DIR/runtime"
	rmdir "$MNT"
	STORE=$DIR/home/store
	MNT=$DIR/home/mnt
	chmod 0700 "$DIR/home" "$DIR/runtime"
	chown "$PLAYER:" "$DIR/home" "$DIR/runtime"
	as_user mkdir "$MNT"
	base_image "$DIR/base.img" 2> /dev/null
	cp "$DIR/base.img" "$DIR/home/base.img"
	chown "$PLAYER:" "$DIR/home/base.img"
	as_user "$DIR/mkclone" make "$STORE" one "$DIR/home/base.img"
}

teardown() {
	chmod "$FUSE_MODE" /dev/fuse
	mount_teardown
	userdel "$PLAYER"
}

as_user() {
	setpriv --reuid="$PLAYER" --regid="$PLAYER" --clear-groups --inh-caps=-all \
		env -i PATH="$PATH" HOME="$DIR/home" XDG_RUNTIME_DIR="$DIR/runtime" "$@"
}

start() { # [OPTION...]
	as_user "$DIR/lazyclonefs" "$STORE" "$MNT" "$@" || return
	PIDS+=("$(pid)")
}
user_status() { as_user "$DIR/mkclone" status "$STORE" | jq -r "$1"; }
pid() { user_status .pid; }

@test "an ordinary user mounts, writes, stops, and finds it again" {
	start
	[ "$(user_status .guard)" = mode ]
	[ "$(stat -c %U "/proc/$(pid)")" = "$PLAYER" ]
	as_user cmp "$DIR/base.img" "$MNT/one/vda.raw"
	echo mine | as_user dd of="$MNT/one/vda.raw" bs=512 conv=notrunc,sync status=none
	[ "$(as_user stat -c '%U %a' "$MNT/one/vda.raw")" = "$PLAYER 600" ]
	[ "$(as_user find "$DIR/runtime" -name '*.sock' | wc -l)" -eq 1 ]
	grep " $MNT fuse.lazyclone rw,nosuid,nodev," /proc/mounts
	as_user "$DIR/mkclone" stop "$STORE"
	[ "$(stat -c %a "$MNT")" = 0 ]
	run as_user touch "$MNT/file"
	[ "$status" -ne 0 ]
	start
	[ "$(as_user head -n 1 "$MNT/one/vda.raw")" = mine ]
	# The base is the user's own: it is protected all the same.
	run as_user qemu-io -f raw -c 'write 0 512' "$DIR/home/base.img"
	[ "$status" -ne 0 ]
}

@test "a dead mount of an ordinary user is cleared, and a kill lost nothing" {
	start
	echo kept | as_user dd of="$MNT/one/vda.raw" bs=512 conv=notrunc,sync status=none
	old=$(pid)
	kill -KILL "$old"
	wait_for gone "$old"
	start
	[ "$(as_user head -n 1 "$MNT/one/vda.raw")" = kept ]
	[ "$(grep -c " $MNT fuse" /proc/mounts)" -eq 1 ]
}

@test "SIGTERM ends an ordinary user's daemon and its mount" {
	start
	exec 7< /dev/null
	old=$(pid)
	kill -TERM "$old"
	wait_for gone "$old"
	run grep " $MNT " /proc/mounts
	[ "$status" -ne 0 ]
}

@test "what an ordinary user may not is said" {
	chmod 0600 /dev/fuse
	run as_user "$DIR/lazyclonefs" "$STORE" "$MNT"
	[ "$status" -eq 5 ]
	[[ $output == *"error: "* ]]
	chmod 0666 /dev/fuse
	mkdir "$DIR/rootdir"
	run as_user "$DIR/lazyclonefs" "$STORE" "$DIR/rootdir"
	[ "$status" -eq 5 ]
	if ! grep -q '^user_allow_other' /etc/fuse.conf; then
		run as_user "$DIR/lazyclonefs" "$STORE" "$MNT" -o allow_other
		[ "$status" -eq 5 ]
		[[ $output == *user_allow_other* ]]
	fi
	# Nothing of a failed start stays.
	start
	as_user cmp "$DIR/base.img" "$MNT/one/vda.raw"
}

@test "a start that fails leaves the mount point closed" {
	start
	as_user "$DIR/mkclone" stop "$STORE"
	[ "$(stat -c %a "$MNT")" = 0 ]
	chmod 0600 /dev/fuse
	run as_user "$DIR/lazyclonefs" "$STORE" "$MNT"
	[ "$status" -eq 5 ]
	[ "$(stat -c %a "$MNT")" = 0 ]
}

@test "a base the user cannot read is refused when it is held" {
	start
	chmod 0600 "$DIR/base.img"
	run as_user "$DIR/mkclone" hold "$STORE" "$DIR/base.img" < /dev/null
	[ "$status" -eq 5 ]
	[[ $output == *"Permission denied"* ]]
}
