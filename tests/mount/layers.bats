#!/usr/bin/env bats
# Snapshots of disks in use, clones stacked on them, resets, checks; kills in between.

load helper

setup() {
	mount_setup
	base_image "$DIR/base.img"
	truncate -s 4M "$DIR/small.img"
	clone make one "vda=$DIR/base.img" "vdb=$DIR/small.img"
}
teardown() { mount_teardown; }

call() { clone call "$1" > "$DIR/reply"; }
snapshot() { call "{\"verb\": \"snapshot\", \"clone\": \"$1\"${2:+, \"name\": \"$2\"}}"; }
reset() { call "{\"verb\": \"reset\", \"clone\": \"$1\"${2+, \"to\": \"$2\"}}"; }
forget() { call "{\"verb\": \"forget\", \"clone\": \"$1\", \"name\": \"$2\"}"; }
stack() {
	clone stack "$@"
	clone attach "$2"
}
put() { random_bytes 65536 | dd of="$1" bs=64K seek="$2" oflag=direct conv=notrunc,fsync status=none; }
sum() { sha256sum < "$1"; }
disk_status() { status ".clones[] | select(.name == \"$1\") | .disks[] | select(.target == \"$2\")$3"; }

number_in() { dd if="$1" bs=512 skip=8 count=1 status=none | tr -d ' \0'; }
# The writer has come further than that.
beyond() { [ "$(number_in "$MNT/one/vdb.raw" || echo 0)" -gt "$1" ] 2> "$DIR/err"; }

# Every file in clones/ and layers/ is named by a manifest, and all that are named are there.
check_names() {
	jq -r '.disks[] | "\(.log) clones", (.layers[] | "\(.id) layers")' \
		"$STORE"/clones/*/manifest | sort -u > "$DIR/named"
	(cd "$STORE" && find clones layers -name '*.log' -printf '%f %H\n') |
		sed 's/\.log / /' | sort -u > "$DIR/there"
	diff "$DIR/named" "$DIR/there"
}

@test "a snapshot of disks in use is one instant of both" {
	local a b i
	serve
	# One writer: a number to the first disk, then the same to the second.
	perl -e '
		use Fcntl;
		sysopen(A, $ARGV[0], O_WRONLY | O_SYNC) or die; sysopen(B, $ARGV[1], O_WRONLY | O_SYNC) or die;
		for (my $n = 1; !-e $ARGV[2]; $n++) {
			my $block = sprintf("%-512d", $n);
			for my $fh (*A, *B) { sysseek($fh, 4096, 0); syswrite($fh, $block) == 512 or die; }
		}' "$MNT/one/vda.raw" "$MNT/one/vdb.raw" "$DIR/stop" &
	for i in 1 2 3 4 5; do
		wait_for beyond "$i"
		snapshot one "s$i"
	done
	touch "$DIR/stop"
	wait
	for i in 1 2 3 4 5; do
		stack one "two$i" "s$i"
		a=$(number_in "$MNT/two$i/vda.raw")
		b=$(number_in "$MNT/two$i/vdb.raw")
		echo "snapshot $i: $a $b"
		[ "$a" -eq "${b:-0}" ] || [ "$a" -eq $((${b:-0} + 1)) ]
	done
	[ "$(disk_status one vda .layers)" -eq 5 ]
	[ "$(status '.clones[0].snapshots | map(.name) | join(" ")')" = "s1 s2 s3 s4 s5" ]
	check_names
}

@test "stacked clones never see each other's writes, and keep what they need" {
	local before
	serve
	put "$MNT/one/vda.raw" 3
	put "$MNT/one/vda.raw" 90
	before=$(sum "$MNT/one/vda.raw")
	snapshot one
	stack one two
	stack one three
	put "$MNT/two/vda.raw" 3
	put "$MNT/one/vda.raw" 90
	[ "$(sum "$MNT/three/vda.raw")" = "$before" ]
	snapshot two
	stack two four
	[ "$(sum "$MNT/four/vda.raw")" = "$(sum "$MNT/two/vda.raw")" ]
	[ "$(disk_status four vda .layers)" -eq 2 ]
	[ "$(disk_status four vdb .layers)" -eq 0 ]
	for name in one two; do
		clone detach $name
		clone remove $name
	done
	check_names
	[ "$(sum "$MNT/three/vda.raw")" = "$before" ]
	stop_daemon
	serve
	[ "$(sum "$MNT/three/vda.raw")" = "$before" ]
	for name in three four; do
		clone detach $name
		clone remove $name
	done
	[ -z "$(ls "$STORE/layers")" ]
}

@test "reset brings back what was, and not while somebody has a disk open" {
	local base one two
	serve
	base=$(sum "$MNT/one/vda.raw")
	put "$MNT/one/vda.raw" 1
	one=$(sum "$MNT/one/vda.raw")
	snapshot one first
	put "$MNT/one/vda.raw" 2
	truncate -s 8M "$MNT/one/vdb.raw"
	put "$MNT/one/vdb.raw" 100
	two=$(sum "$MNT/one/vda.raw")
	snapshot one second
	put "$MNT/one/vda.raw" 3
	exec 7< "$MNT/one/vda.raw"
	run reset one
	[ "$status" -eq 4 ]
	exec 7<&-
	reset one
	[ "$(sum "$MNT/one/vda.raw")" = "$two" ]
	check_names
	# What would be lost is named.
	run reset one first
	[ "$status" -eq 4 ]
	[[ "$output" == *second* ]]
	run reset one ""
	[ "$status" -eq 4 ]
	run reset one third
	[ "$status" -eq 3 ]
	[ "$(sum "$MNT/one/vda.raw")" = "$two" ]
	forget one second
	reset one first
	[ "$(sum "$MNT/one/vda.raw")" = "$one" ]
	[ "$(stat -c %s "$MNT/one/vdb.raw")" -eq $((8 << 20)) ]
	cmp "$MNT/one/vdb.raw" <(head -c 8M /dev/zero)
	forget one first
	reset one ""
	[ "$(sum "$MNT/one/vda.raw")" = "$base" ]
	[ -z "$(ls "$STORE/layers")" ]
	put "$MNT/one/vda.raw" 5
	base=$(sum "$MNT/one/vda.raw")
	stop_daemon
	serve
	[ "$(sum "$MNT/one/vda.raw")" = "$base" ]
	check_names
}

# Files without a name that the daemon still has open: their space is taken.
let_go() { ! find "/proc/$1/fd" -lname '*.log (deleted)' | grep -q .; }

@test "what was thrown away gives its space back by itself, whatever comes next" {
	local pid name
	serve
	pid=$(daemon_pid)
	for name in one two; do
		[ $name = one ] || stack one two
		random_bytes 33554432 | dd of="$MNT/$name/vda.raw" bs=1M oflag=direct conv=notrunc status=none
		call "{\"verb\": \"reset\", \"clone\": \"$name\", \"to\": \"\"}"
		check_names
	done
	wait_for let_go "$pid"
	# Removed, stopped, killed right afterwards.
	for name in one two; do
		random_bytes 33554432 | dd of="$MNT/$name/vda.raw" bs=1M oflag=direct conv=notrunc status=none
		reset $name
	done
	clone detach two
	clone remove two
	[ -z "$(ls "$STORE/trash")" ]
	stop_daemon
	serve
	random_bytes 33554432 | dd of="$MNT/one/vda.raw" bs=1M oflag=direct conv=notrunc status=none
	reset one
	kill_daemon
	umount -l "$MNT"
	serve
	check_names
	cmp "$MNT/one/vda.raw" "$DIR/base.img"
}

@test "what cannot be done is refused, and changes nothing" {
	serve
	put "$MNT/one/vda.raw" 1
	snapshot one a
	run snapshot one a
	[ "$status" -eq 4 ]
	run snapshot one "a/b"
	[ "$status" -eq 2 ]
	run snapshot none x
	[ "$status" -eq 3 ]
	run forget one b
	[ "$status" -eq 3 ]
	run call '{"verb": "snapshot", "clone": "one", "name": 7}'
	[ "$status" -eq 2 ]
	run call '{"verb": "check", "clone": "one", "disk": "vda", "from": -1}'
	[ "$status" -eq 2 ]
	run call '{"verb": "quota", "clone": "one"}'
	[ "$status" -eq 2 ]
	# Nothing was written: nothing to freeze.
	snapshot one
	[ "$(disk_status one vda .layers)" -eq 1 ]
	for i in $(seq 31); do
		put "$MNT/one/vda.raw" "$i"
		snapshot one
	done
	put "$MNT/one/vda.raw" 40
	run snapshot one deep
	[ "$status" -eq 1 ]
	[[ "$output" == *"32 layers"* ]]
	put "$MNT/one/vda.raw" 41
	[ "$(status '.clones[0].snapshots | length')" -eq 1 ]
	check_names
}

@test "check goes through delta and layers" {
	local from=0 data=0
	serve
	put "$MNT/one/vda.raw" 1
	snapshot one
	put "$MNT/one/vda.raw" 1
	put "$MNT/one/vda.raw" 2
	while :; do
		call "{\"verb\": \"check\", \"clone\": \"one\", \"disk\": \"vda\", \"from\": $from}"
		data=$((data + $(jq .data_blocks "$DIR/reply")))
		[ "$(jq .bad_blocks "$DIR/reply")" -eq 0 ]
		from=$(jq .next_block "$DIR/reply")
		[ "$from" -lt "$(jq .end_block "$DIR/reply")" ] || break
	done
	[ "$data" -eq 48 ]
}

@test "quota is kept, and forgotten when asked" {
	serve
	call '{"verb": "quota", "clone": "one", "bytes": 1048576}'
	[ "$(jq .quota_bytes "$STORE/clones/one/manifest")" -eq 1048576 ]
	call '{"verb": "quota", "clone": "one", "bytes": 0}'
	[ "$(jq .quota_bytes "$STORE/clones/one/manifest")" -eq 0 ]
}

@test "killed in the middle of resets, again and again" {
	local round now base written
	serve
	base="$(sum "$MNT/one/vda.raw") $(sum "$MNT/one/vdb.raw")"
	stop_daemon
	for round in $(seq 12); do
		serve
		# Not flushed: a kill loses nothing of it.
		random_bytes 3145728 | dd of="$MNT/one/vda.raw" bs=64K oflag=direct conv=notrunc status=none
		random_bytes 65536 | dd of="$MNT/one/vdb.raw" bs=64K oflag=direct conv=notrunc status=none
		written="$(sum "$MNT/one/vda.raw") $(sum "$MNT/one/vdb.raw")"
		reset one 2> "$DIR/err" &
		read -rt "0.00$((RANDOM % 10))" <> <(:) || true
		kill_daemon
		wait || true
		umount -l "$MNT"
		serve
		now="$(sum "$MNT/one/vda.raw") $(sum "$MNT/one/vdb.raw")"
		[ "$now" = "$written" ] || [ "$now" = "$base" ]
		check_names
		reset one
		stop_daemon
	done
}

@test "killed in the middle of snapshots, again and again" {
	local round before
	for round in $(seq 12); do
		serve
		put "$MNT/one/vda.raw" "$round"
		put "$MNT/one/vdb.raw" "$round"
		before="$(sum "$MNT/one/vda.raw") $(sum "$MNT/one/vdb.raw")"
		snapshot one "s$round" 2> "$DIR/err" &
		read -rt "0.00$((RANDOM % 10))" <> <(:) || true
		kill_daemon
		wait || true
		umount -l "$MNT"
		serve
		[ "$(sum "$MNT/one/vda.raw") $(sum "$MNT/one/vdb.raw")" = "$before" ]
		check_names
		stop_daemon
	done
}
