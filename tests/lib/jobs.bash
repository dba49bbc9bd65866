#!/usr/bin/env bash
# jobs.bash: several commands beside each other; sourced.
#
#	jobs_run COUNT COMMAND... -- ITEM...    "COMMAND ITEM" for each, COUNT at a time
#	jobs_default                            one more than processors, as tests also wait;
#	                                        at most 4; or $JOBS
#	jobs_ended ITEM STATUS LOG SECONDS      the caller's: called when one has ended
#
# What a job says goes to its LOG, to be shown whole. Each is a session of its own, so that
# SIGINT, SIGTERM and SIGHUP can end it with all that it started.

jobs_default() {
	local n
	n=$(($(nproc) + 1))
	echo "${JOBS:-$((n < 4 ? n : 4))}"
}

# As Ctrl-C would, which bats and our programs know how to clean up after.
jobs_stop() {
	local pid
	for pid in "${!JOB_ITEM[@]}"; do kill -INT -- "-$pid" 2>/dev/null; done
	wait
	rm -rf "$JOB_LOGS"
	exit 130
}

# Bash starts what is in the background with SIGINT ignored. A job that a signal ends must not
# be bash's own child: "wait -n" then has neither its number nor its status.
jobs_start() {
	local item=${*: -1} log
	log=$(mktemp "$JOB_LOGS/XXXXXX")
	# shellcheck disable=SC2016
	setsid env --default-signal=INT,QUIT bash -c '"$@"; exit $?' job "$@" \
		>"$log" 2>&1 </dev/null &
	JOB_ITEM[$!]=$item JOB_LOG[$!]=$log JOB_BEGUN[$!]=$SECONDS
}

jobs_wait_one() {
	local pid status=0
	wait -n -p pid "${!JOB_ITEM[@]}" || status=$?
	jobs_ended "${JOB_ITEM[$pid]}" "$status" "${JOB_LOG[$pid]}" \
		$((SECONDS - JOB_BEGUN[pid]))
	rm -f "${JOB_LOG[$pid]}"
	unset "JOB_ITEM[$pid]" "JOB_LOG[$pid]" "JOB_BEGUN[$pid]"
}

jobs_run() {
	local count=$1 item command=()
	shift
	while [ "$1" != -- ]; do command+=("$1"); shift; done
	shift
	JOB_ITEM=() JOB_LOG=() JOB_BEGUN=()
	JOB_LOGS=$(mktemp -d)
	trap jobs_stop INT TERM HUP
	for item; do
		while [ "${#JOB_ITEM[@]}" -ge "$count" ]; do jobs_wait_one; done
		jobs_start "${command[@]}" "$item"
	done
	while [ "${#JOB_ITEM[@]}" -gt 0 ]; do jobs_wait_one; done
	trap - INT TERM HUP
	rm -rf "$JOB_LOGS"
}
