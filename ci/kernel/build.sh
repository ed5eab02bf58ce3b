#!/usr/bin/env bash
# Build Debian's linux-source-6.12 as user-mode Linux with everything a lab can
# use (uml.config beside this file) into ipvslab's cache, and print its path.
#
#   ci/kernel/build.sh            about 6 minutes on two cores, 2.5 GiB while it builds
#   KERNEL_SOURCE=FILE.tar.xz     another source than Debian's package
#   JOBS=n                        compilers at a time; all processors by default
#
# An ordinary user can run it. Interrupted, it goes on where it was; a kernel
# that is there, built with this configuration, is left alone.
set -euo pipefail
umask 022

package=linux-source-6.12
config=$(cd "$(dirname "$0")" && pwd)/uml.config
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ipvslab
home=$cache/built/${package/source/uml}
work=$cache/built/.work-$package

say() { echo "kernel: $*" >&2; }

if [ -x "$home/linux.uml" ] && cmp -s "$config" "$home/uml.config"; then
	say "$home/linux.uml is there already"
	echo "$home/linux.uml"
	exit
fi

mkdir -p "$work"
exec 9>"$work/lock"
flock -n 9 || { say "waiting for another build"; flock 9; }

need=()
for tool in gcc make flex bison bc xz; do
	command -v $tool >/dev/null || need+=("${tool/#xz/xz-utils}")
done
[ -e /usr/include/stdio.h ] || need+=(libc6-dev)
if ((${#need[@]})); then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		say "please install ${need[*]}, then run this again"
		exit 1
	fi
	say "installing ${need[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >&2
fi

cd "$work"
if [ ! -d src ]; then
	if [ -z "${KERNEL_SOURCE:-}" ]; then
		if ! command -v apt-get >/dev/null; then
			say "no apt-get here: name a kernel's sources, KERNEL_SOURCE=/path/to/linux-6.12.tar.xz"
			exit 1
		fi
		say "fetching Debian's package $package (about 150 MB)"
		apt-get -qq -o APT::Sandbox::User= download "$package" >&2 || {
			say "apt can't download $package: see that Debian's (for bookworm, its security) archive is among the sources, and run 'apt-get update' as root"
			exit 1
		}
		rm -rf package
		dpkg-deb -x "$package"_*.deb package
		KERNEL_SOURCE=$(echo "$work"/package/usr/src/$package.tar.*)
	fi
	say "unpacking $KERNEL_SOURCE (1.7 GB)"
	rm -rf src.part
	mkdir src.part
	tar -xf "$KERNEL_SOURCE" -C src.part --strip-components=1
	mv src.part src
	rm -rf package "$package"_*.deb
fi

make -s -C src ARCH=um O="$work/out" KCONFIG_ALLCONFIG="$config" allnoconfig >&2
while IFS= read -r line; do
	case $line in
	'' | '#'*) continue ;;
	*=n) ! grep -q "^${line%=n}=" out/.config && continue ;;
	*) grep -qxF "$line" out/.config && continue ;;
	esac
	say "this kernel can't be configured with $line (a dependency is missing)"
	exit 1
done <"$config"

say "building user-mode Linux $(make -s -C src ARCH=um O="$work/out" kernelversion) with ${JOBS:=$(nproc)} jobs; its output is in $work/log"
if ! nice -n 10 make -C src ARCH=um O="$work/out" -j"$JOBS" linux >log 2>&1; then
	tail -n 20 log >&2
	say "the build failed; run this again to go on from here"
	exit 1
fi

rm -rf "$home.new" "$home"
mkdir "$home.new"
cp out/linux "$home.new/linux.uml"
strip --strip-debug "$home.new/linux.uml"
cp "$config" "$home.new/uml.config"
mv "$home.new" "$home"
rm -rf "$work"
say "built $home/linux.uml; take it with --kernel $home/linux.uml"
echo "$home/linux.uml"
