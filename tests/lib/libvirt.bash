#!/usr/bin/env bash
# libvirt.bash: a libvirtd where none runs, and /dev/kvm as QEMU's user needs it; sourced.
#
#	libvirt_up DIR      make qemu:///system answer; what was started is noted in DIR
#	libvirt_down DIR    end what libvirt_up started, and only that
#
# DIR must outlive the caller: an interrupted demo is cleaned from it later. Where systemd runs,
# libvirtd is the host's service: started if need be, and left to it.

# Identity of a process that survives reuse of its id: when it started.
libvirt_started_at() {
	sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

libvirt_note_process() {
	echo "$1 $(libvirt_started_at "$1")" >>"$2/processes"
}

# libvirt re-probes QEMU for up to a minute per start while /dev/kvm exists but QEMU's user
# cannot open it.
libvirt_open_kvm() {
	[ -e /dev/kvm ] || return 0
	setpriv --reuid libvirt-qemu --regid kvm --init-groups \
		sh -c ': </dev/kvm' 2>/dev/null && return 0
	[ -e "$1/kvm-mode" ] || stat -c %a /dev/kvm >"$1/kvm-mode"
	chmod 0666 /dev/kvm
}

libvirt_answers() {
	command virsh -q -c qemu:///system uri >/dev/null 2>&1
}

# Start DAEMON with its pid file in DIR, detached, none of our descriptors kept.
libvirt_start_daemon() {
	local daemon=$1 dir=$2 pid fd
	(
		for fd in /proc/self/fd/*; do
			fd=${fd##*/}
			[ "$fd" -le 2 ] || eval "exec $fd>&-" 2>/dev/null
		done
		exec "$daemon" -d -p "$dir/$daemon.pid" </dev/null >>"$dir/$daemon.log" 2>&1
	) || { tail -n 5 "$dir/$daemon.log" >&2; return 1; }
	pid=$(cat "$dir/$daemon.pid") && libvirt_note_process "$pid" "$dir"
}

libvirt_up() {
	local dir=$1 tries
	mkdir -p "$dir" && libvirt_open_kvm "$dir"
	libvirt_answers && return 0
	if [ -d /run/systemd/system ]; then
		systemctl start libvirtd || return 1
	else
		pgrep -x virtlogd >/dev/null || libvirt_start_daemon virtlogd "$dir" || return 1
		libvirt_start_daemon libvirtd "$dir" || return 1
	fi
	for ((tries = 0; tries < 300; tries++)); do
		libvirt_answers && return 0
		sleep 0.1
	done
	echo "libvirtd does not answer; its messages: $dir/libvirtd.log" >&2
	return 1
}

# End process PID that started at STARTED: ask, wait up to 10 s, then kill.
libvirt_end_process() {
	local pid=$1 started=$2 tries
	[ -n "$started" ] || return 0
	for ((tries = 0; tries < 100; tries++)); do
		[ "$(libvirt_started_at "$pid")" = "$started" ] || return 0
		[ "$tries" -gt 0 ] || kill "$pid" 2>/dev/null
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null
}

libvirt_down() {
	local dir=$1 pid started
	if [ -f "$dir/processes" ]; then
		# libvirtd before virtlogd, that is, in reverse.
		while read -r pid started; do
			libvirt_end_process "$pid" "$started"
		done < <(tac "$dir/processes")
		rm -f "$dir/processes"
	fi
	if [ -f "$dir/kvm-mode" ]; then
		chmod "$(cat "$dir/kvm-mode")" /dev/kvm
		rm -f "$dir/kvm-mode"
	fi
}
