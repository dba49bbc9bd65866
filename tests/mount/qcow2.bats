#!/usr/bin/env bats
# Clones of qcow2 images and of the chains below them: the bytes, and what happens to the files.

load helper
load slow

setup() { mount_setup; }
teardown() { mount_teardown; }

# DIR/0.raw or 0.qcow2 at the bottom, then 1.qcow2 to 7.qcow2: cluster sizes, virtual sizes and
# what is written differ. CHAIN: options for mkclone; the top is $DIR/7.qcow2.
make_chain() { # raw|qcow2
	local depth size below=0.$1 format=$1
	local -a sizes=(33554432 29360128 35651584 35651584 20971520 41943040 38273024 40894976)
	base_image "$DIR/full.raw"
	truncate -s "${sizes[0]}" "$DIR/full.raw"
	if [ "$1" = raw ]; then
		mv "$DIR/full.raw" "$DIR/0.raw"
	else
		qemu-img convert -c -f raw -O qcow2 -o cluster_size=16k "$DIR/full.raw" "$DIR/0.qcow2"
	fi
	CHAIN=()
	for depth in 1 2 3 4 5 6 7; do
		size=${sizes[depth]}
		qemu-img create -q -f qcow2 -b "$below" -F "$format" \
			-o cluster_size=$((1024 << depth)) "$DIR/$depth.qcow2" "$size"
		qemu-io -f qcow2 -c "write -q -P $((16 + depth)) $((depth * 1500000 / 512 * 512)) 300032" \
			-c "write -q -P $((32 + depth)) $((depth * 4000 * 512)) $((depth * 512))" \
			-c "write -q -z $((depth * 2600 * 1024)) 131072" \
			-c "discard -q $((depth * 900 * 1024)) 262144" "$DIR/$depth.qcow2"
		CHAIN=(--backing "$DIR/$below:$format" "${CHAIN[@]}")
		below=$depth.qcow2
		format=qcow2
	done
	CHAIN=(--format qcow2 "${CHAIN[@]}")
	want "$DIR/7.qcow2" "$DIR/want.raw"
}

# What a guest of that image sees.
want() {
	qemu-img convert -f qcow2 -O raw "$@"
}

same_everywhere() { # DISK WANT
	cmp "$1" "$2"
	cp --sparse=always "$1" "$DIR/sparse.raw"
	cmp "$DIR/sparse.raw" "$2"
	fio --name=r --filename="$1" --readonly --rw=randread --bsrange=512-256k --bs_unaligned=0 \
		--direct=1 --ioengine=libaio --iodepth=16 --size=16M --minimal > "$DIR/fio"
	cmp <(dd if="$1" bs=12345 iflag=direct,fullblock status=none 2> /dev/null || cat "$1") "$2"
}

chain_is_served() { # raw|qcow2
	make_chain "$1"
	clone make one "${CHAIN[@]}" "$DIR/7.qcow2"
	serve
	[ "$(status '.bases[0] | "\(.format) \(.files) \(.state)"')" = "qcow2 8 ready" ]
	[ "$(stat -c %s "$MNT/one/vda.raw")" = "$(stat -c %s "$DIR/want.raw")" ]
	same_everywhere "$MNT/one/vda.raw" "$DIR/want.raw"
	# The clone writes over it: blocks of its own, and parts of blocks that any image owns.
	for depth in 0 1 2 3 4 5 6 7; do
		for file in "$MNT/one/vda.raw" "$DIR/want.raw"; do
			SEED=$depth random_bytes 20000 2> /dev/null |
				dd of="$file" bs=512 seek=$((depth * 2953 + 5000)) conv=notrunc status=none
		done
	done
	cmp "$MNT/one/vda.raw" "$DIR/want.raw"
	kill_daemon
	serve
	same_everywhere "$MNT/one/vda.raw" "$DIR/want.raw"
	stop_daemon
	"$BUILD_BIN/lazyclone-info" "$STORE" one
	"$BUILD_BIN/lazyclone-export" -q "$STORE" one vda "$DIR/out.raw"
	cmp "$DIR/out.raw" "$DIR/want.raw"
	serve
	cmp "$MNT/one/vda.raw" "$DIR/want.raw"
}

@test "a chain of eight on a raw image reads as qemu-img reads it, written over and restarted" {
	chain_is_served raw
}

@test "a chain of eight on a compressed image reads as qemu-img reads it, written over and restarted" {
	chain_is_served qcow2
}

@test "a snapshot of an image is what it was, beside the image as it is" {
	base_image "$DIR/base.img"
	qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd "$DIR/base.img" "$DIR/a.qcow2"
	qemu-img snapshot -c before "$DIR/a.qcow2"
	qemu-io -f qcow2 -c 'write -q -P 7 1M 9M' -c 'write -q -z 60M 1M' "$DIR/a.qcow2"
	qemu-img resize -q "$DIR/a.qcow2" 80M
	want "$DIR/a.qcow2" "$DIR/now.raw"
	clone make one --format qcow2 "a=$DIR/a.qcow2" \
		--format qcow2 --snapshot before "b=$DIR/a.qcow2" \
		--format qcow2 --snapshot 1 "c=$DIR/a.qcow2"
	serve
	cmp "$MNT/one/a.raw" "$DIR/now.raw"
	cmp "$MNT/one/b.raw" "$DIR/base.img"
	cmp "$MNT/one/c.raw" "$DIR/base.img"
	run clone make two --format qcow2 --snapshot after "$DIR/a.qcow2"
	[ "$status" -ne 0 ]
	[[ $output == *after* ]]
}

# A small chain in a directory of its own: top.qcow2, mid.qcow2, low.raw.
small_chain() { # DIRECTORY
	mkdir -p "$1"
	cp "$DIR/chain/"* "$1"
}

options_of() { # DIRECTORY
	echo --format qcow2 --backing "$1/mid.qcow2:qcow2" --backing "$1/low.raw:raw" "$1/top.qcow2"
}

make_small_chain() {
	mkdir "$DIR/chain"
	random_bytes 1048576 > "$DIR/chain/low.raw"
	(
		cd "$DIR/chain"
		qemu-img create -q -f qcow2 -b low.raw -F raw mid.qcow2
		qemu-io -f qcow2 -c 'write -q -P 1 64k 64k' mid.qcow2
		qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
		qemu-io -f qcow2 -c 'write -q -P 2 256k 64k' top.qcow2
	)
	want "$DIR/chain/top.qcow2" "$DIR/want.raw"
}

tamper() { # HOW FILE
	case $1 in
	append) printf x >> "$2" ;;
	write) printf x | dd of="$2" conv=notrunc seek=70000 oflag=seek_bytes status=none ;;
	mmap) xfs_io -c "mmap -rw 0 131072" -c "mwrite -S 0x5a 70000 100" -c msync "$2" > "$DIR/xfs_io" ;;
	truncate) xfs_io -c "truncate 66000" "$2" ;;
	rename) cp "$2" "$2.new" && mv "$2.new" "$2" ;;
	delete) rm "$2" ;;
	esac
}

# The disk of that clone, and what the status says of its base.
disk_error() { status ".clones[] | select(.name == \"$1\").disks[0].error"; }
error_names() { [[ $(disk_error "$1") == *"$2"* ]]; }
reads_fail() { ! dd if="$MNT/$1/vda.raw" of=/dev/null bs=64k iflag=direct status=none 2> /dev/null; }

@test "whatever is done to any file of a chain is seen, named, and costs nobody else anything" {
	make_small_chain
	small_chain "$DIR/sibling"
	# shellcheck disable=SC2046
	clone make sibling $(options_of "$DIR/sibling")
	for how in append write mmap truncate rename delete; do
		for file in top.qcow2 mid.qcow2 low.raw; do
			name=$how-${file%.*}
			small_chain "$DIR/$name"
			# shellcheck disable=SC2046
			clone make "$name" $(options_of "$DIR/$name")
		done
	done
	serve
	for how in append write mmap truncate rename delete; do
		for file in top.qcow2 mid.qcow2 low.raw; do
			name=$how-${file%.*}
			cmp "$DIR/want.raw" "$MNT/$name/vda.raw"
			tamper "$how" "$DIR/$name/$file"
			wait_for error_names "$name" "$DIR/$name/$file"
			case $how in
			# Held, it is still what it was.
			rename | delete) cmp "$DIR/want.raw" "$MNT/$name/vda.raw" ;;
			*) reads_fail "$name" ;;
			esac
			cmp "$DIR/want.raw" "$MNT/sibling/vda.raw"
		done
	done
	# No restart forgets it: by then nobody holds what was renamed over or deleted.
	stop_daemon
	serve
	for how in append write mmap truncate rename delete; do
		for file in top.qcow2 mid.qcow2 low.raw; do
			name=$how-${file%.*}
			reads_fail "$name"
			error_names "$name" "$DIR/$name/$file"
		done
	done
	cmp "$DIR/want.raw" "$MNT/sibling/vda.raw"
}

@test "nothing is opened because an image names it" {
	make_small_chain
	cd "$DIR/chain"
	ln -s /etc/hostname secret
	qemu-img create -q -f qcow2 -u -b secret -F raw thief.qcow2 1M
	qemu-img create -q -f qcow2 -u -b /etc/hostname -F raw thief2.qcow2 1M
	qemu-img create -q -f qcow2 -u -b nbd://localhost/x -F raw nbd.qcow2 1M
	qemu-img create -q -f qcow2 -u -b 'json:{"driver":"file","filename":"/etc/hostname"}' -F raw \
		json.qcow2 1M
	qemu-img create -q -f qcow2 -o data_file="$DIR/chain/own.raw" data.qcow2 1M
	refused "not allowed" --format qcow2 thief.qcow2
	refused "not allowed" --format qcow2 thief2.qcow2
	refused "/etc/hostname, not" --format qcow2 --backing "$DIR/chain/low.raw:raw" thief2.qcow2
	refused "nbd://localhost/x" --format qcow2 --backing "$DIR/chain/low.raw:raw" nbd.qcow2
	refused "json:" --format qcow2 --backing "$DIR/chain/low.raw:raw" json.qcow2
	refused "data file" --format qcow2 data.qcow2
	refused "twice" --format qcow2 --backing "$DIR/chain/./thief.qcow2:qcow2" thief.qcow2
	# A raw image is raw, whatever it begins with.
	cp thief2.qcow2 looks.raw
	clone make raw looks.raw
	clone make allowed --format qcow2 --data "$DIR/chain/own.raw" data.qcow2
	serve
	cmp looks.raw "$MNT/raw/vda.raw" -n "$(stat -c %s looks.raw)"
	[ "$(status '.bases[] | select(.files == 2).format')" = qcow2 ]
}

refused() { # WORDS OPTION... IMAGE
	run clone make bad "${@:2}"
	echo "$output"
	[ "$status" -ne 0 ]
	[[ $output == *"error: "*"$1"* ]]
}

@test "no file of a base may lie on a lazyclone mount" {
	make_small_chain
	clone make one "$DIR/chain/low.raw"
	serve
	qemu-img create -q -f qcow2 -b "$MNT/one/vda.raw" -F raw "$DIR/over.qcow2"
	run clone hold --format qcow2 --backing "$MNT/one/vda.raw:raw" "$DIR/over.qcow2" < /dev/null
	echo "$output"
	[ "$status" -ne 0 ]
	[[ $output == *"$MNT/one/vda.raw: it lies on a lazyclone mount"* ]]
}

@test "twenty clones of one chain have each file held and watched once" {
	make_small_chain
	for i in $(seq 20); do
		# shellcheck disable=SC2046
		clone make "c$i" $(options_of "$DIR/chain")
	done
	serve
	for i in $(seq 20); do cmp "$DIR/want.raw" "$MNT/c$i/vda.raw"; done
	[ "$(status '.bases | length')" = 1 ]
	pid=$(daemon_pid)
	for file in top.qcow2 mid.qcow2 low.raw; do
		[ "$(find "/proc/$pid/fd" -lname "$DIR/chain/$file" | wc -l)" = 1 ]
	done
}

# So many requests to the daemon wait for their answers.
outstanding() { [ "$(cat "$DIR/fusectl/$(stat -c %d "$MNT")/waiting")" -ge "$1" ]; }

@test "a chain with a file that hangs, 400 reads waiting, leaves others their way" {
	base_image "$DIR/low.raw"
	slow_device "$DIR/low.raw"
	qemu-img create -q -f qcow2 -b "$DIR/slow/low.raw" -F raw "$DIR/top.qcow2"
	qemu-io -f qcow2 -c 'write -q -P 3 0 1M' "$DIR/top.qcow2"
	qemu-img create -q -f qcow2 -b "$DIR/low.raw" -F raw "$DIR/well.qcow2"
	want "$DIR/top.qcow2" "$DIR/want.raw"
	clone make slow --format qcow2 --backing "$DIR/slow/low.raw:raw" "$DIR/top.qcow2"
	clone make well --format qcow2 --backing "$DIR/low.raw:raw" "$DIR/well.qcow2"
	serve
	head -c 1M "$MNT/slow/vda.raw" > /dev/null
	stat "$MNT/slow/vda.raw" "$MNT/well/vda.raw" > "$DIR/stat"
	forget "$DIR/slow/low.raw" "$DIR/slow.device"
	mkdir "$DIR/fusectl"
	mount -t fusectl none "$DIR/fusectl"
	kill -STOP "$DEVICE"
	fio --name=hung --filename="$MNT/slow/vda.raw" --readonly --rw=randread --bs=4k --direct=1 \
		--ioengine=libaio --iodepth=400 --iodepth_batch=400 --number_ios=400 --offset=20m \
		--size=2m --norandommap --minimal > "$DIR/fio" 3>&- &
	hung=$!
	PIDS+=("$hung")
	wait_for outstanding 300
	# What the top owns needs no other file; and other bases do not notice.
	cmp -n 1M "$MNT/slow/vda.raw" "$DIR/want.raw"
	cmp "$MNT/well/vda.raw" "$DIR/low.raw"
	SEED=3 random_bytes 1048576 > "$DIR/own"
	dd if="$DIR/own" of="$MNT/well/vda.raw" bs=512 seek=777 conv=notrunc,fsync status=none
	cmp -n 1M "$MNT/well/vda.raw" "$DIR/own" $((777 * 512)) 0
	outstanding 300
	kill -CONT "$DEVICE"
	wait "$hung"
	cmp "$MNT/slow/vda.raw" "$DIR/want.raw"
}
