#!/usr/bin/env bash
# tiny.bash: machines that need no guest, for tests of the command line; sourced after helper.
#
#	tiny_define NAME [IMAGE]   shut-off domain on a raw image (made, 8 MiB of noise, if missing)
#	tiny_start NAME            runs until it is destroyed: the firmware finds nothing to boot
#	tiny_left                  everything a failed command could leave behind, as text
#	tiny_unchanged             it is what setup noted in $before; else says what is not
#	next_command               a command that finds nothing to do but what the last one left
#	expect STATUS COMMAND...   run it; fail unless it exits with STATUS
#	says TEXT                  the error of that command is of the documented form and names TEXT

# shellcheck disable=SC2154 # status, output and stderr are set by bats' run

tiny_xml() {
	cat <<-XML
		<domain type='qemu'>
		  <name>$1</name>
		  <memory unit='MiB'>16</memory>
		  <vcpu>1</vcpu>
		  <os><type arch='x86_64' machine='pc'>hvm</type></os>
		  <devices>
		    <disk type='file' device='disk'>
		      <driver name='qemu' type='raw'/>
		      <source file='$2'/>
		      <target dev='vda' bus='virtio'/>
		    </disk>
		    <controller type='usb' model='none'/>
		    <memballoon model='none'/>
		  </devices>
		</domain>
	XML
}

tiny_define() {
	local name=$1 image=${2:-$VM_DIR/$1.raw}
	[ -e "$image" ] || head -c 8M /dev/urandom >"$image"
	tiny_xml "$name" "$image" >"$VM_DIR/$name.xml"
	virsh define "$VM_DIR/$name.xml" >/dev/null
}

tiny_start() { virsh start "$1" >/dev/null; }

# Domains of this test, files of the store, NVRAM of this test. Lock files
# and the remembered mount point are no result of a command.
tiny_left() {
	virsh list --all --name | grep "^$VM_PREFIX" | sort
	find "$LAZYCLONE_STORE" ! -name '*lock' ! -name mountpoint -printf '%P\n' 2>/dev/null | sort
	find /var/lib/libvirt/qemu/nvram -name "$VM_PREFIX*" 2>/dev/null | sort
}

# shellcheck disable=SC2154 # before: the test's
tiny_unchanged() {
	[ "$(tiny_left)" = "$before" ] && return
	diff <(echo "$before") <(tiny_left)
	return 1
}

next_command() { expect 3 lazyclone rm "$VM_PREFIX-nobody"; }

# bats' $status is what COMMAND exited with; $output, $stderr what it said.
expect() {
	local expected=$1
	shift
	run --separate-stderr "$@"
	[ "$status" -eq "$expected" ] && return
	echo "exit status $status instead of $expected: $*"
	echo "$output"
	echo "$stderr"
	return 1
}

# The error is one line of the documented form, and names TEXT.
says() {
	[[ $stderr == "lazyclone: error: "* ]] && [[ $stderr == *"$1"* ]] && return
	echo "the error does not name '$1':"
	echo "$stderr"
	return 1
}
