#!/usr/bin/env bash
# Prepare a Debian or Ubuntu machine and run the whole suite, as CI does.
#
# Root installs packages; without root the suite itself fetches what it can.
# CI=true turns "this machine can't" from a skip into a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

PATH=$PATH:/usr/sbin:/sbin # where ipvsadm and keepalived are, and an ordinary user does not look
need=()
command -v ip >/dev/null || need+=(iproute2)
command -v ipvsadm >/dev/null || need+=(ipvsadm)
command -v keepalived >/dev/null || need+=(keepalived)
if [ "$(id -u)" = 0 ]; then
	command -v make >/dev/null || need+=(make)
	command -v git >/dev/null || need+=(git)
	command -v cc >/dev/null || need+=(gcc libc6-dev)
	command -v qemu-system-x86_64 >/dev/null || need+=(qemu-system-x86)
	if ((${#need[@]})); then
		echo "ci: installing ${need[*]}"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
	fi
elif ((${#need[@]})); then
	tools=$(ci/tools.sh "${need[@]}")
	PATH=$tools:$PATH
fi

export CI=true IPVSLAB_REQUIRE_IPVSADM=1 IPVSLAB_REQUIRE_KEEPALIVED=1
# Virtual machines often offer a /dev/kvm that does not work.
export IPVSLAB_KVM="${IPVSLAB_KVM:-off}"

make lint
if command -v cc >/dev/null; then
	make race
else
	echo "ci: no C compiler, so no race detector" >&2
fi

# Both launchers are tested, each with its own packaged kernel.
make build
bin/ipvslab kernel fetch
bin/ipvslab --kernel qemu kernel fetch
make test
