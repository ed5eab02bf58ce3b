#!/usr/bin/env bash
# Get keepalived without root: it and what it needs is downloaded as packages and
# unpacked into the cache. Prints the directory to put into the PATH.
set -euo pipefail
dir=${XDG_CACHE_HOME:-$HOME/.cache}/ipvslab/keepalived
if [ ! -x "$dir/bin/keepalived" ]; then
	new=$(mktemp -d)
	trap 'rm -rf "$new"' EXIT
	cd "$new"
	mapfile -t need < <(apt-get -s -o Debug::NoLocking=1 --no-install-recommends install keepalived | awk '/^Inst/ {print $2}')
	apt-get download "${need[@]}" >&2
	mkdir -p root bin
	for deb in ./*.deb; do
		dpkg-deb -x "$deb" root
		rm "$deb"
	done
	cat >bin/keepalived <<-END
		#!/bin/sh
		export LD_LIBRARY_PATH=\$(echo "$dir"/root/usr/lib/*-linux-gnu "$dir"/root/lib/*-linux-gnu | tr ' ' :)
		exec "$dir/root/usr/sbin/keepalived" "\$@"
	END
	chmod +x bin/keepalived
	mkdir -p "$(dirname "$dir")"
	rm -rf "$dir"
	mv "$new" "$dir"
	trap - EXIT
fi
"$dir/bin/keepalived" --version >/dev/null 2>&1
echo "$dir/bin"
