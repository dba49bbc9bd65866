#!/usr/bin/env bats
# demo.bats: the demo runs through, and cleaning leaves nothing of it, also after an interrupt.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	DEMO_DIR=$(mktemp -d -u /var/tmp/lazyclone-demo-XXXXXX)
	export DEMO_DIR DEMO_NAME=lct-demo-${DEMO_DIR##*-}
	export BUILD_BIN GUEST
}

teardown_file() {
	[ -z "${DEMO_DIR:-}" ] || "$VM_ROOT/contrib/demo" clean
}

demo() { "$VM_ROOT/contrib/demo" "$@" 3>&-; }

nothing_is_left() {
	[ ! -e "$DEMO_DIR" ]
	run ! grep -F "$DEMO_DIR" /proc/mounts
	run ! pgrep -f "$DEMO_DIR"
	if libvirt_answers; then
		run ! grep "^$DEMO_NAME" <(virsh list --all --name)
	fi
}

@test "the demo runs through" {
	run -0 demo
	[[ "$output" == *"boot 2: read back OK"* ]]
	[[ "$output" == *"boot 3: read back OK"* ]]
	[[ "$output" == *"unchanged: sha256"* ]]
	[ "$(grep -c "^    $DEMO_NAME-clone[123] .* ms .*iB .*B" <<<"$output")" -eq 3 ]
}

@test "demo-clean leaves nothing" {
	demo clean
	nothing_is_left
	run -0 demo clean
	[[ "$output" == *"nothing to clean"* ]]
}

@test "demo-clean leaves nothing of an interrupted demo either" {
	setsid env --default-signal=INT "$VM_ROOT/contrib/demo" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	pid=$!
	vm_until 120 test -s "$DEMO_DIR/$DEMO_NAME-clone1.console"
	kill -INT -- "-$pid"
	wait "$pid" || true
	demo clean
	nothing_is_left
}
