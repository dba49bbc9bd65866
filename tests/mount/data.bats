#!/usr/bin/env bats
# What is read is what was written, else the base: through copies, kills, restarts, trouble.

load helper
load slow

setup() {
	mount_setup
	base_image "$DIR/base.img"
	clone make one "$DIR/base.img"
}
teardown() { mount_teardown; }

# The base, and what the daemon does, stay as they were whatever a test does.
check_base() {
	[ "$(sha256sum < "$DIR/base.img")" = "$BASE_SUM" ]
}

@test "tar -S, cp --sparse, rsync -S and qemu-img convert give the base's bytes" {
	BASE_SUM=$(sha256sum < "$DIR/base.img")
	head -c 1000001 "$DIR/base.img" > "$DIR/odd.img"
	truncate -s 3M "$DIR/hole.img"
	clone make two "a=$DIR/base.img" "b=$DIR/odd.img" "c=$DIR/hole.img"
	serve
	mkdir "$DIR/tar" "$DIR/cp" "$DIR/rsync" "$DIR/convert"
	tar -C "$MNT/two" -Scf - . | tar -C "$DIR/tar" -Sxf -
	cp --sparse=always "$MNT/two/"*.raw "$DIR/cp"
	rsync -S "$MNT/two/"*.raw "$DIR/rsync/"
	for disk in a b c; do
		qemu-img convert -f raw -O raw "$MNT/two/$disk.raw" "$DIR/convert/$disk.raw"
	done
	# To the next whole sector an odd base reads as zeros.
	cp "$DIR/odd.img" "$DIR/padded.img"
	truncate -s 1000448 "$DIR/padded.img"
	for how in tar cp rsync convert; do
		cmp "$DIR/base.img" "$DIR/$how/a.raw"
		cmp "$DIR/padded.img" "$DIR/$how/b.raw"
		cmp "$DIR/hole.img" "$DIR/$how/c.raw"
	done
	check_base
}

# fio with a verifying pass: what it writes it reads back. The rest of the disk is not its own.
fio_verify() {
	fio --name=verify --filename="$1" --size=48M --randrepeat=1 --randseed="$SEED" \
		--verify=crc32c --verify_fatal=1 --verify_backlog_batch=64 --verify_state_save=0 --minimal "${@:2}" > "$DIR/fio" ||
		{ cat "$DIR/fio"; return 1; }
}

@test "fio verifies what it wrote: any size and place, direct and buffered" {
	SEED=$RANDOM
	echo "# seed $SEED"
	BASE_SUM=$(sha256sum < "$DIR/base.img")
	serve
	fio_verify "$MNT/one/vda.raw" --rw=randwrite --bsrange=512-1M --blockalign=512 --direct=1 \
		--ioengine=libaio --iodepth=16 --io_size=96M --verify_backlog=128
	fio_verify "$MNT/one/vda.raw" --rw=randwrite --bsrange=512-1M --bs_unaligned --direct=0 \
		--ioengine=psync --io_size=64M
	fio_verify "$MNT/one/vda.raw" --rw=randrw --bsrange=512-64k --blockalign=512 --direct=1 \
		--ioengine=psync --numjobs=4 --offset_increment=12M --size=12M --fsync=32 --io_size=8M
	cmp <(tail -c +50331649 "$DIR/base.img") <(tail -c +50331649 "$MNT/one/vda.raw")
	cp "$MNT/one/vda.raw" "$DIR/then.raw"
	stop_daemon
	serve
	cmp "$DIR/then.raw" "$MNT/one/vda.raw"
	check_base
}

@test "every acknowledged write is there after SIGKILL of the daemon" {
	SEED=$RANDOM
	echo "# seed $SEED"
	for round in 1 2 3; do
		serve
		fio_verify "$MNT/one/vda.raw" --rw=randwrite --bsrange=512-1M --blockalign=512 --direct=1 \
			--ioengine=libaio --iodepth=8 --io_size=40M --do_verify=0
		kill_daemon
		serve
		fio_verify "$MNT/one/vda.raw" --rw=randwrite --bsrange=512-1M --blockalign=512 --direct=1 \
			--ioengine=libaio --iodepth=8 --io_size=40M --verify_only
		fio_verify "$MNT/one/vda.raw" --rw=randwrite --bsrange=512-300k --bs_unaligned --direct=0 \
			--ioengine=psync --io_size=30M --do_verify=0
		kill_daemon
		serve
		fio_verify "$MNT/one/vda.raw" --rw=randwrite --bsrange=512-300k --bs_unaligned --direct=0 \
			--ioengine=psync --io_size=30M --verify_only
		SEED=$((SEED + round))
		kill_daemon
	done
}

@test "SIGKILL while writes are under way loses none that was acknowledged" {
	for _ in 1 2 3 4; do
		serve
		# Sector n holds n: the writer says after each write how far it is.
		perl -e 'open(F, "+<", $ARGV[0]) or die; $| = 1;
			for (my $n = 0; $n < 100000; $n++) {
				sysseek(F, $n * 512, 0);
				last if (syswrite(F, pack("Q<64", ($n) x 64), 512) // 0) != 512;
				print "$n\n";
			}' "$MNT/one/vda.raw" > "$DIR/acknowledged" 3>&- &
		writer=$!
		wait_for [ -s "$DIR/acknowledged" ]
		wait_for has_lines 2000 "$DIR/acknowledged"
		kill_daemon
		wait "$writer" || true
		last=$(tail -n 1 "$DIR/acknowledged")
		serve
		perl -e 'open(F, "<", $ARGV[0]) or die;
			for (my $n = 0; $n <= $ARGV[1]; $n++) {
				sysread(F, my $b, 512) == 512 or die "read $n";
				$b eq pack("Q<64", ($n) x 64) or die "sector $n of $ARGV[1] is lost";
			}' "$MNT/one/vda.raw" "$last"
		kill_daemon
	done
}
has_lines() { [ "$(wc -l < "$2")" -ge "$1" ]; }

@test "two clones never see each other's writes, nor does the base" {
	BASE_SUM=$(sha256sum < "$DIR/base.img")
	clone make two "$DIR/base.img"
	serve
	random_bytes 5000000 > "$DIR/a"
	random_bytes 5000000 > "$DIR/b"
	cp "$DIR/base.img" "$DIR/one.img"
	cp "$DIR/base.img" "$DIR/two.img"
	for target in "$DIR/one.img" "$MNT/one/vda.raw"; do
		dd if="$DIR/a" of="$target" conv=notrunc bs=777777 seek=3 status=none
	done
	for target in "$DIR/two.img" "$MNT/two/vda.raw"; do
		dd if="$DIR/b" of="$target" conv=notrunc bs=777777 seek=4 status=none
	done
	cmp "$DIR/one.img" "$MNT/one/vda.raw"
	cmp "$DIR/two.img" "$MNT/two/vda.raw"
	stop_daemon
	serve
	cmp "$DIR/one.img" "$MNT/one/vda.raw"
	cmp "$DIR/two.img" "$MNT/two/vda.raw"
	check_base
}

@test "discard and zeroing read as zeros, preallocation has no effect" {
	serve
	cp "$DIR/base.img" "$DIR/model"
	for target in "$DIR/model" "$MNT/one/vda.raw"; do
		fallocate -p -o 100001 -l 3000000 "$target"
		fallocate -z -n -o 60M -l 10M "$target"
		truncate -s 64M "$target"
		fallocate -z -o 5000 -l 100 "$target"
		fallocate -o 0 -l 64M "$target"
	done
	cmp "$DIR/model" "$MNT/one/vda.raw"
	# Twice, as an answer of "not supported" would be remembered.
	for _ in 1 2; do
		run fallocate -c -o 4096 -l 4096 "$MNT/one/vda.raw"
		[ "$status" -ne 0 ]
		run fallocate -o 60M -l 10M "$MNT/one/vda.raw"
		[ "$status" -ne 0 ]
		[[ $output == *"File too large"* ]]
	done
	stop_daemon
	serve
	cmp "$DIR/model" "$MNT/one/vda.raw"
}

@test "holes are told of: zeros of the base and of the clone" {
	serve
	fallocate -p -o 0 -l 2M "$MNT/one/vda.raw"
	qemu-img map -f raw --output=json "$MNT/one/vda.raw" > "$DIR/map"
	# What was discarded is a hole, what was not is data.
	jq -e '.[0] | .start == 0 and .length == 2097152 and .zero' "$DIR/map"
	jq -e '.[1] | .start == 2097152 and .data' "$DIR/map"
	jq -e 'map(select(.zero) | .length) | add > 40 * 1048576' "$DIR/map"
	run qemu-img compare -f raw -F raw "$MNT/one/vda.raw" "$DIR/base.img"
	[ "$status" -eq 1 ]
}

@test "a base modified underneath is EIO and named, other clones go on" {
	cp "$DIR/base.img" "$DIR/other.img"
	clone make two "$DIR/other.img"
	serve
	random_bytes 4096 | dd of="$MNT/one/vda.raw" bs=4096 conv=notrunc status=none
	dd if="$MNT/one/vda.raw" of="$DIR/block" bs=4096 count=1 status=none
	exec 7< "$MNT/one/vda.raw"
	echo changed | dd of="$DIR/base.img" conv=notrunc seek=1M oflag=seek_bytes status=none
	wait_for base_is changed
	run dd if="$MNT/one/vda.raw" of=/dev/null bs=1M
	[ "$status" -ne 0 ]
	[[ $output == *"Input/output error"* ]]
	# What the clone wrote is its own.
	dd if="$MNT/one/vda.raw" bs=4096 count=1 status=none | cmp - "$DIR/block"
	status '.clones[] | select(.name == "one").disks[0].error' | grep 'base changed'
	[ "$(status '.clones[] | select(.name == "two").disks[0].error')" = null ]
	cmp "$DIR/other.img" "$MNT/two/vda.raw"
	exec 7<&-
	# Nor does a restart forget it.
	stop_daemon
	serve
	run head -c 1 "$MNT/one/vda.raw"
	[ "$status" -ne 0 ]
	[[ $output == *"Input/output error"* ]]
	status '.clones[] | select(.name == "one").disks[0].error' | grep -F "$DIR/base.img"
	cmp "$DIR/other.img" "$MNT/two/vda.raw"
}
base_is() { [ "$(status ".bases[] | select(.path == \"$DIR/base.img\").state")" = "$1" ]; }

@test "a base that hangs stops only the reads that need it" {
	truncate -s 64M "$DIR/own"
	random_bytes 1048576 | dd of="$DIR/own" conv=notrunc status=none
	slow_device "$DIR/base.img"
	clone make two "$DIR/base.img"
	clone make slow "$DIR/slow/base.img"
	serve
	dd if="$DIR/own" of="$MNT/slow/vda.raw" bs=1M count=1 conv=notrunc status=none
	stat "$MNT/slow/vda.raw" "$MNT/two/vda.raw" > "$DIR/stat"
	forget "$DIR/slow/base.img" "$DIR/slow.device"
	kill -STOP "$DEVICE"
	for i in $(seq 40); do
		dd if="$MNT/slow/vda.raw" of="$DIR/read.$i" bs=4096 skip=$((5300 + i * 10)) count=1 \
			status=none 3>&- &
		wait_pid $!
	done
	all_wait
	# What does not need that base goes on, for as long as they wait.
	SEED=1
	dd if="$MNT/slow/vda.raw" bs=1M count=1 status=none | cmp -n 1M - "$DIR/own"
	echo more | dd of="$MNT/slow/vda.raw" conv=notrunc,fsync status=none
	cmp "$DIR/base.img" "$MNT/two/vda.raw"
	fio_verify "$MNT/two/vda.raw" --rw=randwrite --bs=4k --direct=1 --io_size=4M
	# Nor does a write that has to be merged with a block of it stop other writes of the disk
	# (but an fsync: the kernel has it wait for all writes).
	dd if="$DIR/own" of="$MNT/slow/vda.raw" bs=512 seek=46001 count=1 oflag=direct conv=notrunc \
		status=none 3>&- &
	wait_pid $!
	all_wait
	dd if="$DIR/own" of="$MNT/slow/vda.raw" bs=4096 seek=1 count=1 oflag=direct conv=notrunc \
		status=none
	all_wait
	kill -CONT "$DEVICE"
	for pid in "${WAITING[@]}"; do wait "$pid"; done
	for i in $(seq 40); do
		cmp -n 4096 "$DIR/read.$i" "$DIR/base.img" 0 $(((5300 + i * 10) * 4096))
	done
}

@test "a damaged log is EIO and named, other clones go on" {
	clone make two "$DIR/base.img"
	serve
	random_bytes 1048576 | dd of="$MNT/one/vda.raw" bs=64k conv=notrunc,fsync status=none
	stop_daemon
	log=$(echo "$STORE"/clones/one/*.log)
	printf 'X' | dd of="$log" conv=notrunc seek=20000 oflag=seek_bytes status=none
	serve
	run head -c 1 "$MNT/one/vda.raw"
	[ "$status" -ne 0 ]
	[[ $output == *"Input/output error"* ]]
	[ "$(status '.clones[] | select(.name == "one").disks[0].error')" != null ]
	cmp "$DIR/base.img" "$MNT/two/vda.raw"
}

@test "a full file system is ENOSPC, reads go on, and room made is used" {
	truncate -s 48M "$DIR/small.img"
	mkfs.ext4 -q -m 0 "$DIR/small.img"
	mkdir "$DIR/small"
	mount -o loop "$DIR/small.img" "$DIR/small"
	STORE=$DIR/small/store
	clone make one "$DIR/base.img"
	fallocate -l 8M "$DIR/small/ballast"
	serve
	random_bytes 52428800 > "$DIR/data"
	run dd if="$DIR/data" of="$MNT/one/vda.raw" bs=64k conv=notrunc oflag=direct
	[ "$status" -ne 0 ]
	[[ $output == *"No space left on device"* ]]
	written=$(sed -n 's/^\([0-9]*\)+0 records out/\1/p' <<< "$output")
	[ "$written" -gt 200 ] # the store keeps a reserve
	cmp -n $((written * 65536)) "$DIR/data" "$MNT/one/vda.raw"
	sync -d "$MNT/one/vda.raw"
	rm "$DIR/small/ballast"
	dd if="$DIR/data" of="$MNT/one/vda.raw" bs=64k skip="$written" seek="$written" count=32 \
		conv=notrunc oflag=direct status=none
	cmp -n $(((written + 32) * 65536)) "$DIR/data" "$MNT/one/vda.raw"
	kill_daemon
	umount "$MNT"
	serve
	cmp -n $(((written + 32) * 65536)) "$DIR/data" "$MNT/one/vda.raw"
	stop_daemon
	umount "$DIR/small"
}
