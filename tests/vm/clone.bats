#!/usr/bin/env bats
# clone.bats: names, addresses, NVRAM, many at once, two commands at once; and rm.

bats_require_minimum_version 1.5.0
load helper
load tiny
load steps

setup_file() {
	vm_setup_file
	steps_define "$VM_PREFIX-web"
	sha256sum "$VM_DIR/$VM_PREFIX-web.raw" >"$VM_DIR/base.sha256"
}

teardown_file() {
	local rc=0
	[ -z "${VM_DIR:-}" ] || sha256sum --quiet -c "$VM_DIR/base.sha256" || rc=1
	vm_teardown_file
	return "$rc"
}

setup() {
	# One test is about what is there before anything was made.
	[[ $BATS_TEST_DESCRIPTION == "without a store"* ]] || lazyclone mount >/dev/null
	web=$VM_PREFIX-web
	one=$VM_PREFIX-one
	nvram=/var/lib/libvirt/qemu/nvram
	before=$(tiny_left)
}

# Each test removes what it made: rm is tested by that as well.
teardown() {
	lazyclone list --json | jq -r '.[].name' | xargs -r "$BUILD_BIN/lazyclone" rm --force
	tiny_unchanged
}

names() { lazyclone list --json | jq -r '.[].name' | sort -V | tr '\n' ' '; }
value() { virsh dumpxml "$1" | xmllint --xpath "string($2)" - 2>/dev/null; }
mac_of() { virsh dumpxml "$1" | sed -n "s/.*<mac address='\(.*\)'.*/\1/p"; }

# A machine with a network card whose address is of another maker.
define_with_nic() {
	tiny_xml "$1" "$2" | sed "s|</devices>|<interface type='user'>\
<mac address='00:16:3e:12:34:56'/></interface></devices>|" >"$VM_DIR/$1.xml"
	virsh define "$VM_DIR/$1.xml" >/dev/null
}

@test "without a store nothing is started by a dry run, and nothing made" {
	[ ! -e "$LAZYCLONE_STORE" ]
	expect 0 lazyclone clone --dry-run "$web"
	[[ $output == *"$web-clone1"* ]]
	expect 0 lazyclone clone --print-xml "$web"
	[[ $output == *"<name>$web-clone1</name>"* ]]
	[ ! -e "$LAZYCLONE_STORE" ]
	run ! mountpoint -q "$VM_MOUNT"
	tiny_unchanged
	# From here on there is one.
	lazyclone mount
	before=$(tiny_left)
}

@test "names: the first free number, counting domains and clones" {
	tiny_define "$web-clone2"
	lazyclone clone "$web"
	lazyclone clone "$web"
	[ "$(names)" = "$web-clone1 $web-clone3 " ]
	lazyclone clone --disk-only "$VM_DIR/$web.raw" "$web-clone4"
	lazyclone clone "$web" -N 2
	[ "$(names)" = "$web-clone1 $web-clone3 $web-clone4 $web-clone5 $web-clone6 " ]
	lazyclone rm "$web-clone1"
	lazyclone clone "$web"
	[ "$(names)" = "$web-clone1 $web-clone3 $web-clone4 $web-clone5 $web-clone6 " ]
	virsh undefine "$web-clone2"
	rm "$VM_DIR/$web-clone2.raw"
}

@test "each clone has an identity of its own, and the card's maker stays" {
	define_with_nic "$VM_PREFIX-nic" "$VM_DIR/$web.raw"
	lazyclone clone "$VM_PREFIX-nic" "$one" -N 3
	for i in 1 2 3; do
		mac_of "$one$i" >>"$VM_DIR/macs"
		value "$one$i" /domain/uuid >>"$VM_DIR/uuids"
		echo >>"$VM_DIR/uuids"
	done
	cat "$VM_DIR/macs" "$VM_DIR/uuids"
	[ "$(sort -u "$VM_DIR/macs" | grep -c '^00:16:3e:')" -eq 3 ]
	run ! grep -i 12:34:56 "$VM_DIR/macs"
	[ "$(grep -c . "$VM_DIR/uuids")" -eq 3 ]
	[ "$(sort -u "$VM_DIR/uuids" | grep -c .)" -eq 3 ]
	rm "$VM_DIR/macs" "$VM_DIR/uuids"
	virsh undefine "$VM_PREFIX-nic"
}

@test "NVRAM: a copy, as the original's, gone with rm" {
	chown 64055:0 "$VM_DIR/${web}_VARS.fd"
	lazyclone clone "$web" "$one"
	cmp "$VM_DIR/${web}_VARS.fd" "$nvram/${one}_VARS.fd"
	[ "$(stat -c '%u:%g %a' "$nvram/${one}_VARS.fd")" = "64055:0 640" ]
	[ "$(value "$one" /domain/os/nvram)" = "$nvram/${one}_VARS.fd" ]
	cmp "$VM_DIR/${web}_VARS.fd" "$LAZYCLONE_STORE/clones/$one/nvram.pristine"
	lazyclone rm "$one"
	[ ! -e "$nvram/${one}_VARS.fd" ]
	[ -e "$VM_DIR/${web}_VARS.fd" ]
}

@test "NVRAM: an original that never ran has none yet, and so has its clone" {
	mv "$VM_DIR/${web}_VARS.fd" "$VM_DIR/away"
	lazyclone clone "$web" "$one"
	[ "$(value "$one" /domain/os/nvram)" = "$nvram/${one}_VARS.fd" ]
	[ ! -e "$nvram/${one}_VARS.fd" ]
	mv "$VM_DIR/away" "$VM_DIR/${web}_VARS.fd"
}

@test "NVRAM: somebody else's file of that name stays, and nothing is made" {
	echo theirs >"$nvram/${one}_VARS.fd"
	expect 4 lazyclone clone "$web" "$one"
	says "${one}_VARS.fd"
	[ "$(cat "$nvram/${one}_VARS.fd")" = theirs ]
	rm "$nvram/${one}_VARS.fd"
	tiny_unchanged
}

@test "the clone's disk: of QEMU's user, the original's bytes, whole sectors" {
	lazyclone clone "$web" "$one"
	disk=$VM_MOUNT/$one/vda.raw
	[ "$(stat -c '%U %a' "$disk")" = "libvirt-qemu 600" ]
	[ "$(stat -c %s "$disk")" -eq $((6 * 1024 * 1024 + 1536)) ]
	cmp "$VM_DIR/$web.raw" "$disk"
	head -c 5000 /dev/urandom >"$VM_DIR/odd.raw"
	lazyclone clone --disk-only "$VM_DIR/odd.raw" "$VM_PREFIX-odd"
	disk=$VM_MOUNT/$VM_PREFIX-odd/disk.raw
	[ "$(stat -c %s "$disk")" -eq 5120 ]
	cmp -n 5000 "$VM_DIR/odd.raw" "$disk"
	cmp -n 120 -i 5000:0 "$disk" /dev/zero
	rm "$VM_DIR/odd.raw"
}

@test "--count: the whole ones stay, exit 8, and the table says which" {
	lazyclone clone "$web" "${one}2"
	expect 8 lazyclone clone --json "$web" "$one" -N 3
	[ "$(jq -r '[.[] | .made] | tostring' <<<"$output")" = "[true,false,true]" ]
	[ "$(jq -r '.[1].error.code' <<<"$output")" -eq 4 ]
	[ "$(names)" = "${one}1 ${one}2 ${one}3 " ]
}

@test "--all-or-none: one name taken, none is made" {
	lazyclone clone "$web" "${one}3"
	expect 4 lazyclone clone --all-or-none "$web" "$one" -N 3
	[ "$(names)" = "${one}3 " ]
	# Found out only when it is defined: those before it are undone.
	echo theirs >"$nvram/${one}2_VARS.fd"
	lazyclone rm "${one}3"
	expect 4 lazyclone clone --all-or-none "$web" "$one" -N 3
	[ "$(names)" = "" ]
	rm "$nvram/${one}2_VARS.fd"
}

@test "two commands at once: twenty clones, no name twice, all whole" {
	# Both find no daemon, too.
	lazyclone umount >/dev/null
	lazyclone clone --json "$web" -N 10 >"$VM_DIR/a" 3>&- &
	first=$!
	lazyclone clone --json "$web" -N 10 >"$VM_DIR/b"
	wait "$first"
	[ "$(jq -s 'add | map(select(.made and .error == null)) | length' \
		"$VM_DIR/a" "$VM_DIR/b")" -eq 20 ]
	rm "$VM_DIR/a" "$VM_DIR/b"
	[ "$(names | wc -w)" -eq 20 ]
	for name in $(names); do
		[ "$(virsh domstate "$name")" = "shut off" ]
		cmp "$VM_DIR/$web.raw" "$VM_MOUNT/$name/vda.raw"
		[ "$(value "$name" '//disk/source/@file')" = "$VM_MOUNT/$name/vda.raw" ]
		[ -e "$nvram/${name}_VARS.fd" ]
	done
}

@test "two commands that want one name: one gets it, the other nothing" {
	local ok=0 code
	lazyclone clone "$web" "$one" >"$VM_DIR/a" 2>&1 3>&- &
	first=$!
	lazyclone clone "$web" "$one" >"$VM_DIR/b" 2>&1 && ok=1
	code=0
	wait "$first" || code=$?
	cat "$VM_DIR/a" "$VM_DIR/b"
	rm "$VM_DIR/a" "$VM_DIR/b"
	[ "$code" -eq 0 ] || [ "$code" -eq 4 ]
	[ "$code$ok" != 01 ] && [ "$code$ok" != 40 ]
	[ "$(names)" = "$one " ]
	cmp "$VM_DIR/$web.raw" "$VM_MOUNT/$one/vda.raw"
	[ "$(virsh domstate "$one")" = "shut off" ]
}

@test "the name is taken while it is being made: theirs stays, ours is undone or renamed" {
	local theirs
	steps_halt virDomainDefineXMLFlags 1 clone "$web" "$one"
	tiny_define "$one"
	theirs=$(virsh domuuid "$one")
	steps_resume
	[ "$code" -eq 4 ]
	[ "$(virsh domuuid "$one")" = "$theirs" ]
	[ "$(names)" = "" ]
	[ ! -e "$nvram/${one}_VARS.fd" ]
	virsh undefine "$one" >/dev/null

	steps_halt virDomainDefineXMLFlags 1 clone "$web"
	tiny_define "$web-clone1" "$VM_DIR/$one.raw"
	steps_resume
	[ "$code" -eq 0 ]
	[ "$(names)" = "$web-clone2 " ]
	[ ! -e "$nvram/$web-clone1_VARS.fd" ]
	virsh undefine "$web-clone1" >/dev/null
	rm "$VM_DIR/$one.raw"
}

@test "--start: running; one that does not start stays defined, exit 8" {
	tiny_define "$VM_PREFIX-t"
	expect 0 lazyclone clone --start --json "$VM_PREFIX-t" "$one"
	[ "$(jq -r '.[0].started' <<<"$output")" = true ]
	[ "$(virsh domstate "$one")" = running ]
	expect 4 lazyclone rm "$one"
	says running
	tiny_xml "$VM_PREFIX-t" "$VM_DIR/$VM_PREFIX-t.raw" |
		sed 's|</os>|<kernel>/nonexistent</kernel></os>|' >"$VM_DIR/$VM_PREFIX-t.xml"
	lazyclone rm --force "$one"
	virsh undefine "$VM_PREFIX-t"
	virsh define "$VM_DIR/$VM_PREFIX-t.xml"
	expect 8 lazyclone clone --start "$VM_PREFIX-t" "$VM_PREFIX-two"
	[ "$(virsh domstate "$VM_PREFIX-two")" = "shut off" ]
	expect 8 lazyclone clone --start --json "$VM_PREFIX-t" "$one" -N 2
	[ "$(jq -r '[.[] | .made, .started] | tostring' <<<"$output")" = "[true,false,true,false]" ]
	virsh undefine "$VM_PREFIX-t"
	rm "$VM_DIR/$VM_PREFIX-t.raw"
}

@test "refused: snapshots, a saved memory image, a disk of a lazyclone mount" {
	tiny_define "$VM_PREFIX-s"
	virsh snapshot-create-as "$VM_PREFIX-s" --name s1 --disk-only --diskspec vda,snapshot=no \
		>/dev/null 2>&1 || virsh snapshot-create --redefine "$VM_PREFIX-s" /dev/stdin >/dev/null <<-XML
		<domainsnapshot><name>s1</name><state>shutoff</state><creationTime>1</creationTime>
		$(virsh dumpxml --inactive "$VM_PREFIX-s")</domainsnapshot>
	XML
	[ -n "$(virsh snapshot-list --name "$VM_PREFIX-s")" ]
	expect 10 lazyclone clone "$VM_PREFIX-s"
	says snapshots
	virsh snapshot-delete --metadata "$VM_PREFIX-s" s1 >/dev/null
	virsh start "$VM_PREFIX-s" >/dev/null
	virsh managedsave "$VM_PREFIX-s" >/dev/null
	expect 10 lazyclone clone "$VM_PREFIX-s"
	says "saved memory image"
	virsh undefine --managed-save "$VM_PREFIX-s" >/dev/null
	rm "$VM_DIR/$VM_PREFIX-s.raw"

	# Somebody's own machine on a clone's disk: there is no clone to take the layers of.
	lazyclone clone "$web" "$one"
	tiny_define "$VM_PREFIX-s" "$VM_MOUNT/$one/vda.raw"
	expect 10 lazyclone clone "$VM_PREFIX-s" "$VM_PREFIX-two"
	says "$VM_MOUNT/$one/vda.raw"
	virsh undefine "$VM_PREFIX-s" >/dev/null
	expect 10 lazyclone clone --disk-only "$VM_MOUNT/$one/vda.raw" "$VM_PREFIX-two"
	[ "$(names)" = "$one " ]
}

@test "bad names: 2, before anything is started" {
	for name in '' . .hidden a/b "$(printf 'a\nb')" "$(printf '%0201d' 0)"; do
		expect 2 lazyclone clone "$web" "$name"
	done
	tiny_unchanged
}

@test "rm: by name, UUID and new name; a machine without our mark is not touched" {
	lazyclone clone "$web" "$one" -N 2
	lazyclone rm "$(virsh domuuid "${one}1")"
	[ "$(names)" = "${one}2 " ]
	virsh domrename "${one}2" "$VM_PREFIX-renamed" >/dev/null
	virsh dumpxml --inactive --security-info "$VM_PREFIX-renamed" >"$VM_DIR/keep.xml"
	# The mark is gone: foreign.
	sed '/<metadata>/,/<\/metadata>/d' "$VM_DIR/keep.xml" >"$VM_DIR/foreign.xml"
	virsh define "$VM_DIR/foreign.xml" >/dev/null
	expect 5 lazyclone rm "${one}2"
	says "not ours"
	expect 5 lazyclone hydrate "${one}2"
	virsh domstate "$VM_PREFIX-renamed"
	cmp "$VM_DIR/$web.raw" "$VM_MOUNT/${one}2/vda.raw"
	virsh define "$VM_DIR/keep.xml" >/dev/null
	expect 0 lazyclone rm "$VM_PREFIX-renamed"
	run ! virsh domstate "$VM_PREFIX-renamed"
	[ "$(names)" = "" ]
	expect 5 lazyclone rm "$web"
	virsh domstate "$web"
	rm "$VM_DIR/keep.xml" "$VM_DIR/foreign.xml"
}

@test "rm: a clone whose domain was undefined by hand; not when a namesake came" {
	lazyclone clone "$web" "$one"
	virsh undefine --nvram "$one" >/dev/null
	tiny_define "$one"
	expect 5 lazyclone rm "$one"
	virsh undefine "$one" >/dev/null
	rm "$VM_DIR/$one.raw"
	expect 0 lazyclone rm "$one"
	[ "$(names)" = "" ]
}

@test "rm: a disk in use is refused, and the machine stays" {
	lazyclone clone "$web" "$one"
	exec 7<"$VM_MOUNT/$one/vda.raw"
	expect 4 lazyclone rm "$one"
	virsh domstate "$one"
	[ -e "$VM_MOUNT/$one/vda.raw" ]
	exec 7<&-
	expect 0 lazyclone rm "$one"
}

# Times are for `make bench`; that the size does not matter shows in what is made.
@test "a clone of 8 TiB takes what one of 8 GiB takes" {
	local image size
	for size in 8G 8T; do
		image=$VM_DIR/$size.raw
		truncate -s "$size" "$image"
		lazyclone clone --disk-only "$image" "$VM_PREFIX-$size"
		[ "$(stat -c %s "$VM_MOUNT/$VM_PREFIX-$size/disk.raw")" = "$(stat -c %s "$image")" ]
	done
	du -s "$LAZYCLONE_STORE/clones/$VM_PREFIX-8G" "$LAZYCLONE_STORE/clones/$VM_PREFIX-8T" |
		awk '{ size[NR] = $1 } END { exit !(NR == 2 && size[1] == size[2] && size[1] > 0) }'
	lazyclone rm "$VM_PREFIX-8G" "$VM_PREFIX-8T"
	rm "$VM_DIR/8G.raw" "$VM_DIR/8T.raw"
}

@test "fifty clones in one run: all whole" {
	lazyclone clone "$web" "$VM_PREFIX-m" --count 50 >/dev/null
	[ "$(lazyclone list --json | jq '[.[] | select(.state == "shut off")] | length')" = 50 ]
	lazyclone list --json | jq -r '.[].name' | xargs "$BUILD_BIN/lazyclone" rm >/dev/null
	[ "$(names)" = "" ]
}
