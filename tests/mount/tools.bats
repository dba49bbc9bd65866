#!/usr/bin/env bats
# lazyclone-info, -fsck and -export on a store that a daemon served: what they say, and their exit status.

load helper

setup() {
	mount_setup
	base_image "$DIR/base.img"
	clone make web "$DIR/base.img" "vdb=$DIR/base.img"
}
teardown() { mount_teardown; }

info() { "$BUILD_BIN/lazyclone-info" "$@"; }
fsck() { "$BUILD_BIN/lazyclone-fsck" "$@"; }
export_disk() { "$BUILD_BIN/lazyclone-export" -q "$@"; }
call() { clone call "$1"; }

# run_with STATUS COMMAND...: as run, and its status must be that.
run_with() {
	local wanted=$1
	shift
	run "$@"
	echo "$output"
	[ "$status" -eq "$wanted" ]
}

# Bytes that do not shrink, at that place (in KiB) of a disk of web.
put() {
	random_bytes $(($3 * 1024)) |
		dd of="$MNT/web/$1.raw" bs=64K seek=$(($2 * 1024)) oflag=seek_bytes \
			conv=notrunc,fsync status=none iflag=fullblock
}

log_file() { info --json "$STORE" web "$1" | jq -r '.clones[0].disks[0].log'; }

# flip FILE OFFSET: another byte there.
flip() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf "%b" "\\x$(printf %x $((byte ^ 4)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "info shows clones, disks, layers, snapshots, beside the daemon and without" {
	serve
	put vda 100 300
	run_with 0 info "$STORE"
	[[ $output == *"serves it now"* ]]
	[[ $output == *web*vda*"in use"* ]]
	call '{"verb": "snapshot", "clone": "web", "name": "first"}'
	stop_daemon
	run_with 0 info "$STORE"
	[[ $output == *"daemon  none"* ]]
	[[ $output == *web*first* ]]
	[[ $output == *"USED BY"* ]]
	info --json "$STORE" > "$DIR/info.json"
	[ "$(jq -r '.clones[0].name, .clones[0].snapshots[0].name, .served' "$DIR/info.json" |
		tr '\n' ' ')" = "web first false " ]
	[ "$(jq '.layers[0].data_blocks' "$DIR/info.json")" -eq 75 ]
	[ "$(jq -r '.layers[0].users[]' "$DIR/info.json")" = web ]
	[ "$(jq '[.clones[].disks[].error, .layers[].error] | map(select(.)) | length' \
		"$DIR/info.json")" -eq 0 ]
	[ "$(info --json "$STORE" web vdb | jq -r '.clones[0].disks[].target')" = vdb ]
	run_with 3 info "$STORE" nobody
	run_with 3 info "$STORE" web vdz
	run_with 2 info
	run_with 2 info --sideways "$STORE"
	run_with 12 info "$DIR"
}

@test "info of one clone names the others that need its layers" {
	serve
	put vda 0 100
	call '{"verb": "snapshot", "clone": "web", "name": "first"}'
	clone stack web next first
	stop_daemon
	[ "$(info --json "$STORE" next | jq -c '.clones | map(.name)')" = '["next"]' ]
	[ "$(info --json "$STORE" next | jq -c '.layers | map(.users)')" = '[["next","web"]]' ]
	[ "$(info --json "$STORE" web vdb | jq -c .layers)" = '[]' ]
	[ "$(info --json "$STORE" | jq -c '.layers | map(.users)')" = '[["next","web"]]' ]
}

@test "the dump has a line for each record, by clone and by file" {
	serve
	put vda 0 8
	stop_daemon
	run_with 0 info --dump "$STORE" web vda
	[[ $output == *" data lsn 1 block 0 count 2 length "*" payload 4096,4096 ok"* ]]
	[[ $output == *" sealed" ]]
	[ "$output" = "$(info --dump "$STORE/clones/web/$(log_file vda).log")" ]
	[ "$output" = "$(cd "$STORE/clones/web" && info --dump "$(log_file vda).super")" ]
	run_with 2 info --dump "$STORE" web
	run_with 2 info --dump "$DIR/base.img"
}

@test "fsck refuses a store that is served, looks at it with -n, and finds a killed one clean" {
	serve
	put vda 0 2000
	run_with 8 fsck -p "$STORE"
	[[ $output == *"a daemon serves it"* ]]
	run_with 0 fsck -n -f "$STORE"
	[[ $output == *warning* ]]
	kill_daemon
	umount -l "$MNT"
	run_with 0 fsck -p -f "$STORE"
	[[ $output == *clean ]]
	run_with 0 fsck -n "$STORE" web
	[[ $output == *"clean (blocks are verified with -f)" ]]
	run_with 16 fsck -n -y "$STORE"
	run_with 16 fsck -n
	run_with 16 fsck "$STORE" < /dev/null
	run_with 8 fsck -n "$DIR"
	run_with 8 fsck -n "$STORE" nobody
}

@test "leftovers go with -p, and are left with -n" {
	mkdir "$STORE/trash/0123456789abcdef0123456789abcdef"
	touch "$STORE/clones/web/0123456789abcdef0123456789abcdef.log"
	run_with 4 fsck -n "$STORE"
	run_with 1 fsck -p "$STORE"
	[ -z "$(ls "$STORE/trash")" ]
	run_with 0 fsck -p "$STORE"
}

@test "a block that does not verify is lost alone, and the damaged log is kept" {
	local log before
	serve
	put vda 0 400
	before=$(dd if="$MNT/web/vda.raw" bs=4K skip=1 status=none | sha256sum)
	stop_daemon
	log=$STORE/clones/web/$(log_file vda).log
	flip "$log" 5000
	run_with 4 fsck -p -f "$STORE"
	run_with 1 fsck -y -f "$STORE"
	[[ $output == *"blocks do not verify: 1, the first is 0"* ]]
	run_with 0 fsck -n -f "$STORE"
	[ -f "$STORE/lost+found/web.1/$(basename "$log")" ]
	serve
	run dd if="$MNT/web/vda.raw" of=/dev/null bs=4K count=1 iflag=direct
	[ "$status" -ne 0 ]
	[ "$(dd if="$MNT/web/vda.raw" bs=4K skip=1 status=none | sha256sum)" = "$before" ]
	put vda 0 4
	dd if="$MNT/web/vda.raw" of=/dev/null bs=4K count=1 iflag=direct status=none
	stop_daemon
	run_with 0 fsck -n -f "$STORE"
}

@test "a person is asked, and answers" {
	local log
	serve
	put vda 0 40
	stop_daemon
	log=$STORE/clones/web/$(log_file vda).log
	flip "$log" 5000
	run_with 4 script -qec "'$BUILD_BIN/lazyclone-fsck' -f '$STORE'" /dev/null <<< n
	[[ $output == *"Mark them as lost"*"(y/n)"* ]]
	run_with 1 script -qec "'$BUILD_BIN/lazyclone-fsck' -f '$STORE'" /dev/null <<< y
	run_with 0 fsck -n -f "$STORE"
	# No to the first way out, yes to the other: nothing is left.
	log=$STORE/clones/web/$(log_file vda).log
	rm -f "${log%.log}.ckpt"
	flip "$log" 4116
	run_with 1 script -qec "'$BUILD_BIN/lazyclone-fsck' '$STORE'" /dev/null <<< $'n\ny'
	[[ $output == *"Go back"*"marked as lost"* ]]
	run_with 0 fsck -n -f "$STORE"
}

@test "a damaged layer is repaired under the clones that stand on it" {
	local layer
	serve
	put vda 0 100
	call '{"verb": "snapshot", "clone": "web", "name": "first"}'
	put vda 16 8
	stop_daemon
	layer=$(info --json "$STORE" web vda | jq -r '.clones[0].disks[0].layers[0]')
	flip "$STORE/layers/$layer.log" 5000
	run_with 1 fsck -y -f "$STORE"
	[[ $output == *"layer $layer: blocks do not verify: 1, the first is 0"* ]]
	run_with 0 fsck -n -f "$STORE"
	[ ! -e "$STORE/layers/$layer.log" ]
	serve
	run dd if="$MNT/web/vda.raw" of=/dev/null bs=4K count=1 iflag=direct
	[ "$status" -ne 0 ]
	dd if="$MNT/web/vda.raw" of=/dev/null bs=4K skip=1 status=none
	call '{"verb": "reset", "clone": "web"}'
	stop_daemon
	run_with 0 fsck -n -f "$STORE"
}

@test "a missing base, layer, log or manifest is found" {
	local layer log
	serve
	put vda 0 16
	call '{"verb": "snapshot", "clone": "web", "name": "first"}'
	stop_daemon
	mv "$DIR/base.img" "$DIR/other.img"
	run_with 4 fsck -y "$STORE"
	[[ $output == *"the base cannot be used"* ]]
	mv "$DIR/other.img" "$DIR/base.img"
	layer=$(info --json "$STORE" web vda | jq -r '.clones[0].disks[0].layers[0]')
	rm "$STORE/layers/$layer".*
	run_with 1 fsck -y "$STORE"
	run_with 0 fsck -n -f "$STORE"
	log=$(log_file vdb)
	rm "$STORE/clones/web/$log.log"
	run_with 1 fsck -y "$STORE"
	run_with 0 fsck -n -f "$STORE"
	echo '{}' > "$STORE/clones/web/manifest"
	run_with 4 fsck -p "$STORE"
	[[ $output == *"clone web"*"manifest"*"its logs: "* ]]
	run_with 1 fsck -y "$STORE"
	run_with 0 fsck -n -f "$STORE"
	[ -d "$STORE/lost+found/web.2" ]
}

@test "an export is what the mount reads, raw and qcow2; a disk in use is refused" {
	serve
	# Closed, but a machine may ask for it at any moment.
	run_with 4 export_disk "$STORE" web vda "$DIR/out.raw"
	[[ $output == *"a daemon serves it"* ]]
	put vda 100 3000
	fallocate -p -o 1M -l 1M "$MNT/web/vda.raw"
	cp "$MNT/web/vda.raw" "$DIR/read.raw"
	exec 7< "$MNT/web/vda.raw"
	run_with 4 export_disk "$STORE" web vda "$DIR/out.raw"
	[[ $output == *"a daemon has it open"* ]]
	exec 7<&-
	stop_daemon
	export_disk --compare "$STORE" web vda "$DIR/out.raw"
	cmp "$DIR/read.raw" "$DIR/out.raw"
	[ "$(stat -c %b "$DIR/out.raw")" -lt $((40 * 2048)) ]
	export_disk -O qcow2 "$STORE" web vda "$DIR/out.qcow2"
	qemu-img compare "$DIR/read.raw" "$DIR/out.qcow2"
	run_with 4 export_disk "$STORE" web vda "$DIR/out.raw"
	run_with 3 export_disk "$STORE" web vdz "$DIR/no.raw"
	run_with 2 export_disk -O vmdk "$STORE" web vda "$DIR/no.raw"
	[ -z "$(find "$DIR" -maxdepth 1 -name '*.tmp' -o -maxdepth 1 -name 'no.*')" ]
}

@test "an export salvages what can be read, says what is not, and exits 8" {
	local log
	serve
	put vda 0 3000
	cp "$MNT/web/vda.raw" "$DIR/read.raw"
	stop_daemon
	log=$STORE/clones/web/$(log_file vda).log
	# Payloads of the first block, and of one in the middle.
	flip "$log" 5000
	flip "$log" 1000000
	run_with 12 export_disk --salvage "$STORE" web vda "$DIR/no.raw"
	[[ $output == *"hint: "*lazyclone-fsck* ]]
	run_with 1 fsck -y -f "$STORE"
	run_with 1 export_disk "$STORE" web vda "$DIR/no.raw"
	[[ $output == *"hint: "*"--salvage"* ]]
	run_with 8 export_disk --salvage --compare "$STORE" web vda "$DIR/out.raw"
	[[ $output == *"zeros instead: 4096 bytes at 0"* ]]
	[[ $output == *"8192 bytes in 2 places"* ]]
	lost_is_zeros "$DIR/out.raw"
	run_with 8 export_disk --salvage -O qcow2 "$STORE" web vda "$DIR/out.qcow2"
	qemu-img compare "$DIR/out.raw" "$DIR/out.qcow2"
	run_with 0 export_disk --salvage "$STORE" web vdb "$DIR/whole.raw"
	[ -z "$(find "$DIR" -maxdepth 1 -name '*.tmp' -o -maxdepth 1 -name 'no.*')" ]
}

# lost_is_zeros FILE: it is what the mount read but for two blocks of zeros,
# which $output lists.
lost_is_zeros() {
	local off at=0
	while read -r off; do
		cmp -n $((off - at)) -i "$at" "$DIR/read.raw" "$1"
		cmp -n 4096 -i "$off:0" "$1" /dev/zero
		at=$((off + 4096))
	done < <(sed -n 's/.*4096 bytes at \([0-9]*\)$/\1/p' <<< "$output")
	[ "$at" -gt 4096 ]
	cmp -i "$at" "$DIR/read.raw" "$1"
}

@test "a snapshot and a layer are exported while the clone is in use" {
	local layer
	serve
	put vda 100 300
	cp "$MNT/web/vda.raw" "$DIR/first.raw"
	call '{"verb": "snapshot", "clone": "web", "name": "first"}'
	put vda 200 300
	exec 7<> "$MNT/web/vda.raw"
	export_disk --snapshot first "$STORE" web vda "$DIR/out.raw"
	cmp "$DIR/first.raw" "$DIR/out.raw"
	layer=$(info --json "$STORE" web vda | jq -r '.clones[0].disks[0].layers[0]')
	export_disk --layer "$layer" -O qcow2 "$STORE" web vda "$DIR/out.qcow2"
	qemu-img compare "$DIR/first.raw" "$DIR/out.qcow2"
	# Nothing was written to vdb: the snapshot is the base.
	export_disk --snapshot first "$STORE" web vdb "$DIR/base.raw"
	cmp "$DIR/base.img" "$DIR/base.raw"
	run_with 3 export_disk --snapshot second "$STORE" web vda "$DIR/no.raw"
	exec 7>&-
}

@test "a repair that finds no space leaves everything as it was" {
	local log
	truncate -s 64M "$DIR/small.img"
	mkfs.ext4 -q -F "$DIR/small.img"
	mkdir "$DIR/small"
	mount -o loop "$DIR/small.img" "$DIR/small"
	STORE=$DIR/small/store
	clone make web "$DIR/base.img"
	serve
	put vda 0 8000
	stop_daemon
	log=$STORE/clones/web/$(log_file vda).log
	flip "$log" 5000
	fallocate -l "$(df --output=avail -B1 "$DIR/small" | tail -n 1)" "$DIR/small/fill" ||
		dd if=/dev/zero of="$DIR/small/fill" bs=64K status=none || true
	sha256sum "$STORE/clones/web/"* > "$DIR/before"
	run_with 4 fsck -y -f "$STORE"
	[[ $output == *"not repaired"*"No space left"* ]]
	sha256sum "$STORE/clones/web/"* | cmp - "$DIR/before"
	rm "$DIR/small/fill"
	run_with 1 fsck -y -f "$STORE"
	run_with 0 fsck -n -f "$STORE"
}

@test "damage at many places of a real store: the second run is clean, and no byte is wrong" {
	local file size i place repaired seed=${SEED:-$RANDOM$RANDOM}
	echo "# seed $seed" >&2
	RANDOM=$((seed % 32768))
	serve
	for i in 1 2 3 4; do
		put vda $((RANDOM % 8192)) 700
	done
	fallocate -p -o 2M -l 3M "$MNT/web/vda.raw"
	cp "$MNT/web/vda.raw" "$DIR/whole.raw"
	stop_daemon
	cp -a "$STORE" "$DIR/pristine"
	for i in $(seq 8); do
		rm -rf "$STORE"
		cp -a "$DIR/pristine" "$STORE"
		file=$(find "$STORE/clones/web" -type f -size +0 | sort | sed -n "$((i % 4 + 1))p")
		[ -n "$file" ] || continue
		size=$(stat -c %s "$file")
		place=$(((RANDOM * 32768 + RANDOM) % size))
		echo "# $file at $place"
		flip "$file" "$place"
		run fsck -y -f "$STORE"
		echo "$output"
		[ "$status" -le 1 ]
		repaired=$output
		run_with 0 fsck -n -f "$STORE"
		[ -d "$STORE/clones/web" ] || continue
		no_wrong_byte
	done
}

# Each block of the disk is as it was, or cannot be read. (A cut is an earlier
# state: where there was one, only the second run is looked at.)
no_wrong_byte() {
	grep -q 'gone back' <<< "$repaired" && return
	serve
	dd if="$MNT/web/vda.raw" of="$DIR/now.raw" bs=4K conv=noerror,sync iflag=direct \
		status=none 2>/dev/null || true
	cmp -l "$DIR/whole.raw" "$DIR/now.raw" |
		awk '$3 != 0 {bad = 1} END {exit bad}'
	stop_daemon
}
