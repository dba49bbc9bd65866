#!/usr/bin/env bats
# A package installation onto ext4, on a clone and on a qcow2 overlay of the same base: who takes less.

load helper

# What a build machine gets; their files are here, as this project needs them.
PACKAGES=(gcc-12 cpp-12 g++-12 libstdc++-12-dev libgcc-12-dev binutils-common git libicu72
	libperl5.36 perl-modules-5.36 locales)
RATIO_MAX=60 # percent

setup() {
	mount_setup
	LOOP=
	for package in "${PACKAGES[@]}"; do
		dpkg-query -W "$package" >/dev/null 2>&1 || skip "package $package is not installed"
	done
}

teardown() {
	leave
	mount_teardown
}

# The files of an installed package below /usr as a package again: dpkg installs it like any.
pack() {
	local package=$1 tree=$DIR/tree
	rm -rf "$tree"
	mkdir -p "$tree/DEBIAN"
	dpkg-query -L "$package" | while read -r path; do
		case $path in /usr/*) [ -d "$path" ] || [ ! -e "$path" ] || echo "${path#/}" ;; esac
	done | tar -C / -cf - --no-recursion -T - | tar -C "$tree" -xf -
	cat >"$tree/DEBIAN/control" <<-END
		Package: $package
		Version: 1
		Architecture: all
		Maintainer: nobody <nobody@localhost>
		Description: files of $package
	END
	dpkg-deb -Znone -b "$tree" "$DIR/debs/$package.deb" >/dev/null
	rm -rf "$tree"
}

# Mount what lies in a file as a guest would its disk.
enter() {
	LOOP=$(losetup -f --show "$1")
	mkdir -p "$DIR/root"
	mount "$LOOP" "$DIR/root"
}

leave() {
	mountpoint -q "$DIR/root" && umount "$DIR/root"
	[ -z "$LOOP" ] || losetup -d "$LOOP"
	LOOP=
}

install_packages() {
	enter "$1"
	mkdir -p "$DIR/root/var/lib/dpkg/"{info,updates,triggers}
	touch "$DIR/root/var/lib/dpkg/"{status,available}
	dpkg --root="$DIR/root" --force-all --no-triggers -i "$DIR/debs/"*.deb >"$DIR/dpkg.log" 2>&1 ||
		{ tail -n 5 "$DIR/dpkg.log"; return 1; }
	sync -f "$DIR/root"
	leave
}

sums() {
	enter "$1"
	(cd "$DIR/root" && find . -xdev -type f -not -path './var/*' -exec sha256sum {} + | sort -k 2)
	leave
}

allocated() { du -c --block-size=1 "$@" | tail -n 1 | cut -f 1; }

# The qcow2 overlay as a raw file, by the daemon that QEMU has for it.
serve_qcow2() {
	touch "$DIR/overlay.raw"
	qemu-storage-daemon \
		--blockdev driver=file,filename="$DIR/overlay.qcow2",node-name=file \
		--blockdev driver=qcow2,file=file,node-name=disk,discard=unmap \
		--export type=fuse,id=fuse,node-name=disk,mountpoint="$DIR/overlay.raw",writable=on \
		--pidfile "$DIR/qsd.pid" --daemonize
	QSD=$(cat "$DIR/qsd.pid")
	PIDS+=("$QSD")
}

@test "after a package installation and cleaning the delta is at most $RATIO_MAX % of a qcow2 overlay" {
	local overlay delta
	mkdir "$DIR/debs"
	for package in "${PACKAGES[@]}"; do pack "$package"; done
	truncate -s 2G "$DIR/base.img"
	mkfs.ext4 -q "$DIR/base.img"
	qemu-img create -q -f qcow2 -b "$DIR/base.img" -F raw "$DIR/overlay.qcow2"
	serve_qcow2
	install_packages "$DIR/overlay.raw"
	sums "$DIR/overlay.raw" >"$DIR/overlay.sums"
	kill "$QSD"
	wait_for gone "$QSD"
	overlay=$(allocated "$DIR/overlay.qcow2")
	clone make one "$DIR/base.img"
	serve
	install_packages "$MNT/one/vda.raw"
	sums "$MNT/one/vda.raw" >"$DIR/delta.sums"
	cmp "$DIR/overlay.sums" "$DIR/delta.sums"
	[ "$(wc -l <"$DIR/delta.sums")" -gt 1000 ]
	delta=$(allocated "$STORE/clones/one/"*.{super,log})
	echo "# package installation: qcow2 overlay $((overlay >> 20)) MiB, delta $((delta >> 20)) MiB," \
		"$((delta * 100 / overlay)) %" >&3
	[ $((delta * 100)) -le $((overlay * RATIO_MAX)) ]
}
