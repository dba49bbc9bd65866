#!/usr/bin/env bash
# helper.bash: what the tests on real libvirt machines share; needs root.
#
#	setup_file() { vm_setup_file; }        a directory, store and mount point of its own
#	teardown_file() { vm_teardown_file; }  nothing of it is left
#
#	vm_define NAME [WORD...]   shut-off domain of the test guest; WORDs go to its command line
#	vm_boot NAME               start it, wait until it powered itself off
#	vm_start NAME              start it, console into $VM_DIR/NAME.console
#	vm_wait_console NAME ERE   until its console shows that
#	vm_wait_off NAME           until it is shut off
#	vm_log IMAGE               the guest's log, read from its disk
#	lazyclone ...              the built tool on this file's store
#
# Every domain name must begin with $VM_PREFIX: by that they are removed. Variables: $VM_DIR,
# $VM_MOUNT, $LAZYCLONE_STORE, $BUILD_BIN (programs), $GUEST (vmlinuz, initrd, root.raw). Other
# users run $VM_DIR/bin/lazyclone: the build tree may lie in a home that is closed to them.

VM_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD_BIN=${BUILD_BIN:-$VM_ROOT/build/plain}
GUEST=${GUEST:-$VM_ROOT/build/guest}
VM_WAIT_SEC=120
# shellcheck source=tests/lib/libvirt.bash
. "$VM_ROOT/tests/lib/libvirt.bash"

lazyclone() { "$BUILD_BIN/lazyclone" "$@"; }
virsh() { command virsh -q -c "${VM_URI:-qemu:///system}" "$@"; }

vm_setup_file() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	# Not below /tmp or a home: QEMU's user must reach it.
	VM_DIR=$(mktemp -d /var/tmp/lazyclone-vm-XXXXXX)
	chmod 0711 "$VM_DIR"
	VM_PREFIX=lct-${VM_DIR##*-}
	VM_MOUNT=$VM_DIR/mnt
	LAZYCLONE_STORE=$VM_DIR/store
	LAZYCLONE_STORES=$VM_DIR/stores
	export VM_DIR VM_PREFIX VM_MOUNT LAZYCLONE_STORE LAZYCLONE_STORES BUILD_BIN GUEST
	[ -f "$GUEST/root.raw" ] || "$VM_ROOT/tests/guest/make-guest" "$GUEST"
	cp "$GUEST/vmlinuz" "$GUEST/initrd" "$VM_DIR/"
	mkdir "$VM_DIR/bin"
	cp "$BUILD_BIN/lazyclone" "$BUILD_BIN/lazyclonefs" "$VM_DIR/bin/"
	libvirt_up "$VM_DIR/libvirt" 3>&-
}

# Domains by prefix: whatever the tests made, also when they failed half way.
vm_remove_domains() {
	local name
	for name in $(virsh list --all --name | grep "^$VM_PREFIX"); do
		virsh destroy "$name" >/dev/null 2>&1 || true
		virsh undefine --nvram "$name" >/dev/null || true
	done
}

# End the daemon of STORE, gently if it answers, and clear its mount.
vm_end_daemon() {
	local pid
	timeout 30 "$BUILD_BIN/lazyclone" umount >/dev/null 2>&1 && return
	for pid in $(pgrep -f "lazyclonefs .*$VM_DIR"); do
		kill -KILL "$pid" 2>/dev/null
	done
	umount -l "$VM_MOUNT" 2>/dev/null || true
}

# Goes on whatever fails on the way, and fails when anything is left.
vm_teardown_file() {
	[ -n "${VM_DIR:-}" ] || return 0
	set +e
	vm_remove_domains
	vm_end_daemon
	libvirt_down "$VM_DIR/libvirt"
	chattr -i "$VM_MOUNT" 2>/dev/null || true
	rm -rf --one-file-system "$VM_DIR"
	[ ! -e "$VM_DIR" ]
}

# The domain's XML on stdout: NAME, IMAGE, command line words.
vm_xml() {
	local name=$1 image=$2
	shift 2
	cat <<-XML
		<domain type='qemu'>
		  <name>$name</name>
		  <memory unit='MiB'>192</memory>
		  <vcpu>1</vcpu>
		  <os>
		    <type arch='x86_64' machine='pc'>hvm</type>
		    <kernel>$VM_DIR/vmlinuz</kernel>
		    <initrd>$VM_DIR/initrd</initrd>
		    <cmdline>console=ttyS0 quiet panic=-1 $*</cmdline>
		  </os>
		  <features><acpi/></features>
		  <on_reboot>destroy</on_reboot>
		  <on_crash>destroy</on_crash>
		  <devices>
		    <disk type='file' device='disk'>
		      <driver name='qemu' type='raw'/>
		      <source file='$image'/>
		      <target dev='vda' bus='virtio'/>
		    </disk>
		    <controller type='usb' model='none'/>
		    <interface type='user'>
		      <model type='virtio'/>
		      <rom enabled='no'/>
		    </interface>
		    <serial type='pty'/>
		    <memballoon model='none'/>
		  </devices>
		</domain>
	XML
}

vm_define() {
	local name=$1 image=${VM_IMAGES:-$VM_DIR}/$1.raw
	shift
	cp --sparse=always --reflink=auto "$GUEST/root.raw" "$image"
	vm_xml "$name" "$image" "$@" >"$VM_DIR/$name.xml"
	virsh define "$VM_DIR/$name.xml" >/dev/null
}

# Paused first, so that the console is read from its first byte.
vm_start() {
	local name=$1 tty
	virsh start --paused "$name" >/dev/null || return 1
	tty=$(virsh ttyconsole "$name") || return 1
	{ stty raw -echo <"$tty" && exec cat "$tty"; } >>"$VM_DIR/$name.console" 2>/dev/null 3>&- &
	virsh resume "$name" >/dev/null
}

# vm_until SECONDS COMMAND...: until it succeeds; fails after that time.
vm_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

vm_is_off() { [ "$(virsh domstate "$1")" = "shut off" ]; }
vm_console_shows() { grep -Eq -- "$2" "$VM_DIR/$1.console" 2>/dev/null; }

vm_wait_off() {
	vm_until "$VM_WAIT_SEC" vm_is_off "$1" && return
	echo "$1 is still $(virsh domstate "$1") after $VM_WAIT_SEC s; its console:"
	tail -n 20 "$VM_DIR/$1.console"
	return 1
}

vm_wait_console() {
	vm_until "$VM_WAIT_SEC" vm_console_shows "$1" "$2" && return
	echo "the console of $1 does not show '$2' after $VM_WAIT_SEC s:"
	tail -n 20 "$VM_DIR/$1.console"
	return 1
}

vm_boot() {
	rm -f "$VM_DIR/$1.console"
	vm_start "$1" && vm_ends_well "$1"
}

# The guest powers itself off and has nothing to complain about.
vm_ends_well() {
	local name=$1
	vm_wait_off "$name" || return 1
	vm_until 10 vm_console_shows "$name" 'boot [0-9]+: done' &&
		! vm_console_shows "$name" 'FAILED|read-only|I/O error' && return
	echo "the guest of $name complains:"
	cat "$VM_DIR/$name.console"
	return 1
}

vm_log() {
	debugfs -R 'cat /var/log/lazyclone-guest.log' "$1" 2>/dev/null
}
