#!/usr/bin/env bash
# Get programs without root: ci/tools.sh PACKAGE... downloads the packages, and
# what they need that this machine lacks, and unpacks them into the cache.
# Prints the directory to put into the PATH.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ipvslab
dir=$cache/tools/$(IFS=_ && echo "$*")
options=(-o Debug::NoLocking=1 -o APT::Sandbox::User=)

# download puts the packages and what they need into this directory.
download() {
	local need
	need=$(apt-get "${options[@]}" -s --no-install-recommends install "$@" | awk '/^Inst/ {print $2}')
	# shellcheck disable=SC2086 # a list of names
	apt-get "${options[@]}" -q download $need >&2
}

# own_lists takes package lists of our own, where the system's are missing or
# out of date; internal/guest/image keeps them in the same place.
own_lists() {
	local apt=$cache/apt
	mkdir -p "$apt/state" "$apt/lists/partial" "$apt/cache/archives/partial"
	options+=(-o "Dir::State=$apt/state" -o "Dir::State::lists=$apt/lists" -o Dir::State::status=/var/lib/dpkg/status -o "Dir::Cache=$apt/cache")
	apt-get "${options[@]}" -q update >&2
}

if [ ! -d "$dir" ]; then
	echo "ci: fetching $* into $dir" >&2
	mkdir -p "$(dirname "$dir")"
	new=$(mktemp -d "$cache/tools/.new-XXXXXX")
	trap 'rm -rf "$new"' EXIT
	cd "$new"
	if ! (set -e; download "$@") 2>/dev/null; then
		own_lists
		download "$@"
	fi
	mkdir root bin
	for deb in ./*.deb; do
		dpkg-deb -x "$deb" root
		rm "$deb"
	done
	for program in root/bin/* root/sbin/* root/usr/bin/* root/usr/sbin/*; do
		[ -x "$program" ] || continue
		cat >"bin/${program##*/}" <<-END
			#!/bin/sh
			export LD_LIBRARY_PATH=\$(echo "$dir"/root/usr/lib/*-linux-gnu "$dir"/root/lib/*-linux-gnu | tr ' ' :)
			exec "$dir/$program" "\$@"
		END
		chmod +x "bin/${program##*/}"
	done
	chmod 755 "$new"
	mv "$new" "$dir"
	trap - EXIT
fi
echo "$dir/bin"
