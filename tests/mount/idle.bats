#!/usr/bin/env bats
# Disks that nobody uses: closed under their guests, opened again by the next request.

load helper

setup() {
	mount_setup
	base_image "$DIR/base.img"
}

teardown() {
	exec 7>&- 8>&-
	mount_teardown
}

# Is a disk open in the daemon?
loaded() { [ "$(status ".clones[] | select(.name == \"$1\").disks[0].opened")" = true ]; }
unloaded() { ! loaded "$1"; }
read_loads() { [ "$(text_at 7 3)" = first ] && loaded "$1"; }
opens() { status ".clones[] | select(.name == \"$1\").disks[0].opens"; }
log_of() { echo "$STORE/clones/$1/"*.log; }

# By a descriptor that stays open, as a guest's.
write_at() { # FD BLOCK TEXT
	perl -e 'my ($fd, $block, $text) = @ARGV;
		open(my $f, "+<&=$fd") or die "$!\n";
		sysseek($f, $block * 4096, 0);
		(syswrite($f, pack("A4096", $text)) // -1) == 4096 or die "write: $!\n"' "$@"
}
text_at() { # FD BLOCK
	perl -e 'my ($fd, $block) = @ARGV;
		open(my $f, "<&=$fd") or die "$!\n";
		sysseek($f, $block * 4096, 0);
		(sysread($f, my $text, 4096) // -1) == 4096 or die "read: $!\n";
		print unpack("A*", $text)' "$@"
}

@test "an idle disk is closed under its guest, and its next request opens it" {
	clone make one "$DIR/base.img"
	clone make other "$DIR/base.img"
	serve -o idle=1
	exec 7<> "$MNT/one/vda.raw"
	write_at 7 3 first
	for round in 1 2 3; do
		wait_for unloaded one
		[ "$(opens one)" -eq 1 ]
		# A busy machine may be slower to look than the daemon to close it again.
		wait_for read_loads one
		wait_for unloaded one
		write_at 7 "$round" "round $round"
		[ "$(text_at 7 "$round")" = "round $round" ]
		[ $round -eq 3 ] || write_at 7 3 first
	done
	# What ls shows is remembered, and looking opens nothing.
	wait_for unloaded one
	[ "$(stat -c %s "$MNT/one/vda.raw")" -eq 67108864 ]
	[ "$(stat -c %b "$MNT/one/vda.raw")" -gt 18000 ]
	unloaded one
	# A flush of a closed disk opens it: it may have to say no.
	sync -d "$MNT/one/vda.raw"
	cmp -i 16384 "$DIR/base.img" "$MNT/one/vda.raw"
	# Cut off while it is closed: what a kill leaves.
	wait_for unloaded one
	kill_daemon
	exec 7>&-
	umount "$MNT"
	serve
	exec 7< "$MNT/one/vda.raw"
	[ "$(text_at 7 2)" = "round 2" ]
	[ "$(text_at 7 3)" = "round 3" ]
	exec 7>&-
}

@test "what cannot be opened again is an error with its reason, until it can" {
	clone make one "$DIR/base.img"
	serve -o idle=1
	exec 7<> "$MNT/one/vda.raw"
	write_at 7 3 first
	wait_for unloaded one
	log=$(log_of one)
	mv "$log" "$log.gone"
	run write_at 7 4 second
	[ "$status" -ne 0 ]
	[[ $output == *"Input/output error"* ]]
	[[ $(status '.clones[0].disks[0].error') == *"is missing"* ]]
	run text_at 7 3
	[[ $output == *"Input/output error"* ]]
	mv "$log.gone" "$log"
	write_at 7 4 second
	[ "$(text_at 7 3)" = first ]
	[ "$(text_at 7 4)" = second ]
	[ "$(status '.clones[0].disks[0].error')" = null ]
}

@test "a disk at work is not closed" {
	clone make busy "$DIR/base.img"
	clone make one "$DIR/base.img"
	serve -o idle=3
	exec 7<> "$MNT/busy/vda.raw" 8<> "$MNT/one/vda.raw"
	write_at 8 1 here
	n=0
	while loaded one; do
		n=$((n + 1))
		write_at 7 $((n % 1000)) "$n"
		loaded busy
		[ $n -lt 100000 ]
	done
	[ "$(text_at 7 $((n % 1000)))" = "$n" ]
}

@test "over the memory budget the longest idle disks are closed first" {
	local budget
	truncate -s 1G "$DIR/wide.img"
	clone make x "$DIR/wide.img"
	clone make y "$DIR/wide.img"
	serve -o idle=86400
	scatter x
	# Room for one of them; one that was loaded anew is smaller than one that was written.
	budget=$(($(status '.clones[] | select(.name == "x").disks[0].index_bytes') * 11 / 10))
	[ "$budget" -ge 131072 ]
	stop_daemon
	serve -o idle=86400,memory=$budget
	exec 7< "$MNT/x/vda.raw"
	IFS= read -rn 1 -d '' -u 7 # without a close, which would be another use
	loaded x
	# What is used between two rounds of the keeper is idle since the same moment.
	wait_for went_round
	scatter y
	wait_for unloaded x
	loaded y
	wait_for within_budget "$budget"
	loaded y
	[ "$(opens x)" -eq 1 ]
	exec 7<&-
}

scatter() {
	fio --name=s --filename="$MNT/$1/vda.raw" --rw=randwrite --bs=4k --size=256M --io_size=64M \
		--ioengine=psync --direct=1 --buffer_compress_percentage=97 --refill_buffers \
		--output=/dev/null
}
went_round() { [ "$(status .memory_bytes)" -gt 0 ]; } # with a disk open
within_budget() { [ "$(status .memory_bytes)" -le "$1" ]; }

@test "a disk at rest gets a checkpoint while it is open" {
	clone make one "$DIR/base.img"
	serve
	exec 7<> "$MNT/one/vda.raw"
	random_bytes 4194304 | dd bs=64k iflag=fullblock conv=notrunc status=none >&7
	loaded one
	wait_for test -e "$(log_of one | sed 's/log$/ckpt/')"
	loaded one
	# Opening replays what came after it: nothing.
	kill_daemon
	exec 7>&-
	umount "$MNT"
	serve
	head -c 4096 "$MNT/one/vda.raw" > /dev/null
	[ "$(status '.clones[0].disks[0].replayed_bytes')" -lt 65536 ]
}
