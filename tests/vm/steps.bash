#!/usr/bin/env bash
# steps.bash: stop a lazyclone command at each of its steps; sourced after helper and tiny.
#
#	steps_each DO FUNCTION COMMAND...   for N = 1, 2 ...: COMMAND with its Nth step killed,
#	                   failing or interrupted (DO), then FUNCTION, which checks; ends when
#	                   COMMAND has fewer than N steps. Before each N: steps_before, if defined.
#	steps_halt CALL N COMMAND..., steps_resume   halt it there, go on
#	steps_kill CALL N COMMAND...                 kill it there
#	steps_define NAME  a tiny machine with an NVRAM file
#
# FUNCTION finds in $step what was reached (a call's name) and in $code the exit status. Counted
# in $steps: a test that stops at nothing fails.
#
# shellcheck disable=SC2034,SC2154 # used by the tests, or set by helper

steps_run() {
	local n=$1 how=$2
	shift 2
	rm -f "$VM_DIR/step"
	code=0
	STOPAT_N=$n STOPAT_DO=$how STOPAT_LOG=$VM_DIR/step \
		LD_PRELOAD=$BUILD_BIN/tests/preload/stopat.so \
		"$BUILD_BIN/lazyclone" "$@" >"$VM_DIR/said" 2>&1 || code=$?
	step=$(cat "$VM_DIR/step" 2>/dev/null) || step=
}

steps_each() {
	local how=$1 check=$2
	shift 2
	for ((steps = 1; ; steps++)); do
		! declare -F steps_before >/dev/null || steps_before
		steps_run "$steps" "$how" "$@"
		[ -n "$step" ] || break
		"$check" && continue
		echo "step $steps, $how at $step, exit status $code:"
		cat "$VM_DIR/said"
		return 1
	done
	[ "$code" -eq 0 ] || { cat "$VM_DIR/said"; return 1; }
}

# steps_halt CALL N COMMAND...: let COMMAND come to its Nth call of that name, in the background.
steps_halt() {
	local call=$1 nth=$2
	shift 2
	STOPAT_CALL=$call STOPAT_N=$nth STOPAT_DO=stop \
		LD_PRELOAD=$BUILD_BIN/tests/preload/stopat.so \
		"$BUILD_BIN/lazyclone" "$@" >"$VM_DIR/said" 2>&1 3>&- &
	halted=$!
	vm_until 30 steps_halted
}

steps_halted() { [ "$(ps -o stat= -p "$halted" | cut -c1)" = T ]; }

# Let it go on to its end: exit status in $code.
steps_resume() {
	kill -CONT "$halted"
	code=0
	wait "$halted" || code=$?
}

# steps_kill CALL N COMMAND...: killed just before it; fails if it was not reached.
steps_kill() {
	local call=$1 nth=$2
	shift 2
	STOPAT_CALL=$call steps_run "$nth" kill "$@"
	[ -n "$step" ]
}

steps_define() {
	local name=$1 image=$VM_DIR/$1.raw
	[ -e "$VM_DIR/CODE.fd" ] || truncate -s 1M "$VM_DIR/CODE.fd"
	head -c 128K /dev/urandom >"$VM_DIR/${name}_VARS.fd"
	chmod 0640 "$VM_DIR/${name}_VARS.fd"
	# Data, a hole, data: of a length that is no multiple of 4 KiB.
	head -c 2M /dev/urandom >"$image"
	truncate -s 6M "$image"
	head -c 1536 /dev/urandom >>"$image"
	tiny_xml "$name" "$image" |
		sed -e "s|</os>|</os><features><acpi/></features>|" \
			-e "s|machine='pc'>hvm</type>|machine='pc'>hvm</type>\
<loader readonly='yes' type='pflash'>$VM_DIR/CODE.fd</loader>\
<nvram>$VM_DIR/${name}_VARS.fd</nvram>|" >"$VM_DIR/$name.xml"
	virsh define "$VM_DIR/$name.xml" >/dev/null
}
