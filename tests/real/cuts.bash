#!/usr/bin/env bash
# cuts.bash: a delta on a file system whose device stops at any moment; loaded after helper.
#
#	run_on TYPE SIZE
#
# All that the device is told is recorded below the file system. Then the device
# is made anew as it was at every flush and at $POINTS moments between: the file
# system recovers, the delta opens, and all that was flushed by then is there.

# shellcheck disable=SC2154 # DIR, RAM and the programs are helper's

OPS=${OPS:-700}
POINTS=${POINTS:-60}
[ -z "${DEEP:-}" ] || { OPS=3000; POINTS=200; }

# Lines "INDEX BYTES" of the points to try: every flush, and POINTS others.
choose() {
	"$REPLAY" points "$BLOCKLOG" | awk -v from="$1" '$2 >= from' >"$DIR/all"
	awk '$3 == "flush"' "$DIR/all" >"$DIR/flushes"
	[ -n "${DEEP:-}" ] || { shuf -n "$POINTS" --random-source=<(yes "$SEED") "$DIR/flushes" \
		>"$DIR/some" && mv "$DIR/some" "$DIR/flushes"; }
	{
		cat "$DIR/flushes"
		shuf -n "$POINTS" --random-source=<(yes "$SEED") "$DIR/all"
	} | sort -n -u
}

# The device after so many entries of the log, as a file that may be written to. Each time
# another file: a loop device that is not gone yet would show what the last one held.
device_at() {
	"$REPLAY" apply "$BLOCKLOG" "$RAM/replayed" "$APPLIED" "$1"
	APPLIED=$1
	cp --sparse=always "$RAM/replayed" "$RAM/state.$1"
}

check_at() {
	local state=$RAM/state.$(($1 + 1))
	device_at $(($1 + 1))
	mkdir -p "$DIR/state"
	mount -o loop"${OPTIONS:+,$OPTIONS}" "$state" "$DIR/state"
	"$TINY" check "$DIR/state" "$DIR/record" "$2" || {
		echo "seed $SEED, entry $1 of the block log, $2 bytes"
		[ -z "${KEEP:-}" ] || cp -a "$DIR/record" "$BLOCKLOG" "$KEEP"
		umount "$DIR/state"
		return 1
	}
	umount "$DIR/state"
	rm "$state"
}

run_on() {
	local type=$1 size=$2 from index bytes n=0
	export SEED=${SEED:-$RANDOM}
	echo "seed $SEED"
	record_device "$size"
	make_fs "$type" "$DEVICE"
	mount_on "$DEVICE" "$DIR/live"
	"$TINY" write "$DIR/live" "$DIR/record" "$BLOCKLOG" "$OPS"
	umount "$DIR/live"
	end_device
	# The first flush that the delta was promised covers its being there.
	from=$(awk '$1 == "flushed" {print $3; exit}' "$DIR/record")
	truncate -s "$size" "$RAM/replayed"
	APPLIED=0
	choose "$from" >"$DIR/points"
	while read -r index bytes _; do
		check_at "$index" "$bytes"
		n=$((n + 1))
	done <"$DIR/points"
	[ $n -ge "$POINTS" ]
	echo "# $type: $n states of $(wc -l <"$DIR/all") entries, $(grep -c flushed "$DIR/record") flushes" >&3
}
