#!/usr/bin/env bash
# wait.bash: waiting for what a test has set going; sourced.
#
#	wait_for COMMAND...   until it succeeds; fails after $WAIT_SEC
#	gone PID              has that process ended, with all of its threads?

# Much longer than anything takes: only a failure waits that long.
WAIT_SEC=${WAIT_SEC:-60}

wait_for() {
	local end=$((SECONDS + WAIT_SEC))
	until "$@"; do
		[ $SECONDS -lt $end ] || { echo "waited in vain for: $*"; return 1; }
		read -rt 0.02 <> <(:) || true
	done
}

# A dead process's last threads still hold its files for a moment.
gone() {
	! kill -0 "$1" 2>/dev/null ||
		awk '/^State:.*Z/ {z = 1} /^Threads:/ {exit !(z && $2 <= 1)}' "/proc/$1/status" 2>/dev/null
}
