#!/usr/bin/env bats
# kernel.bats: the mount and kill tests on Debian 12's own kernel, in a guest that runs this machine's programs.

load helper

VIRTIOFSD=/usr/lib/qemu/virtiofsd
# Emulated and without KVM it is slow: one test of each kind, or with DEEP=1 more of them.
BOOT_SEC=${BOOT_SEC:-300}
ROUNDS=3
TESTS='SIGKILL while writes'
[ -z "${DEEP:-}" ] || { BOOT_SEC=1200; ROUNDS=10; TESTS='SIGKILL|never see|discard'; }

setup() {
	real_setup
	[ -x "$VIRTIOFSD" ] || skip "no $VIRTIOFSD"
}

teardown() {
	[ -z "${VFS:-}" ] || { kill "$VFS" 2>/dev/null || true; wait_for gone "$VFS"; }
	real_teardown
}

# run_inside SCRIPT: by bash, with the host's root read-only; its output is $DIR/console.
run_inside() {
	truncate -s 2G "$RAM/scratch"
	"$VIRTIOFSD" --socket-path="$DIR/host.sock" -o source=/ -o sandbox=chroot -o cache=always \
		>"$DIR/virtiofsd.log" 2>&1 3>&- &
	VFS=$!
	wait_for test -S "$DIR/host.sock"
	timeout "$BOOT_SEC" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1G \
		-nodefaults -no-reboot -display none -serial file:"$DIR/console" \
		-object memory-backend-memfd,id=mem,size=1G,share=on -machine memory-backend=mem \
		-chardev socket,id=host,path="$DIR/host.sock" \
		-device vhost-user-fs-pci,chardev=host,tag=host \
		-drive file="$RAM/scratch",format=raw,if=virtio,cache=unsafe \
		-kernel "$GUEST/vmlinuz" -initrd "$GUEST/initrd-host" \
		-append "console=ttyS0 quiet panic=-1 lazyclone.run=$1" 3>&-
}

@test "on Debian 12's kernel: mounts, acknowledged writes survive SIGKILL, nothing is mixed" {
	cat >"$DIR/inside" <<-EOF
		set -u
		uname -r
		export BUILD_BIN=/mnt$BUILD_BIN
		cd /mnt$REAL_ROOT
		ROUNDS=$ROUNDS "\$BUILD_BIN/tests/crash/stress" || exit
		bats --tap -f '$TESTS' tests/mount/data.bats
	EOF
	run_inside "$DIR/inside"
	cat "$DIR/console"
	grep -q '^6\.1\.' "$DIR/console"
	grep -q '^lazyclone-guest: exit 0' "$DIR/console"
}
