#!/usr/bin/env bats
# A thousand clones that nobody uses: cheap, and none in the way of another.

load helper

setup() {
	mount_setup
	base_image "$DIR/base.img"
}

teardown() { mount_teardown; }

@test "a thousand idle clones: little memory, and ready at once" {
	local names=() ms rss
	mapfile -t names < <(seq -f 'clone%g' 1000)
	printf '%s\n' "${names[@]}" |
		xargs -P 4 -I{} "$BUILD_BIN/tests/mount/mkclone" make "$STORE" {} "$DIR/base.img"
	ms=$(date +%s%3N)
	serve -o idle=2
	[ "$(status '.clones | length')" -eq 1000 ]
	ms=$(($(date +%s%3N) - ms))
	rss=$(awk '/^VmRSS/ {print $2}' "/proc/$(daemon_pid)/status")
	echo "# 1000 idle clones: $rss KiB resident, answers after $ms ms" >&3
	[ "$rss" -lt 65536 ]
	[ "$ms" -lt 5000 ]
	# Also when all of them were in use: read, written, then left alone.
	for name in "${names[@]}"; do
		echo "$name" | dd of="$MNT/$name/vda.raw" bs=4k seek=7 conv=notrunc status=none
	done
	WAIT_SEC=60 wait_for all_closed
	rss=$(awk '/^VmRSS/ {print $2}' "/proc/$(daemon_pid)/status")
	echo "# after each was written and left alone: $rss KiB resident" >&3
	[ "$rss" -lt 65536 ]
	[ "$(find "/proc/$(daemon_pid)/fd" -type l | wc -l)" -lt 100 ]
	for name in clone1 clone500 clone1000; do
		[ "$(dd if="$MNT/$name/vda.raw" bs=4k skip=7 count=1 status=none | head -n 1)" = "$name" ]
	done
}
all_closed() { [ "$(status '[.clones[].disks[0] | select(.opened)] | length')" -eq 0 ]; }
