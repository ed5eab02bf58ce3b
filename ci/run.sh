#!/usr/bin/env bash
# Prepare a Debian or Ubuntu machine and run the whole suite, as CI does.
#
# Root installs packages; without root the suite itself fetches what it can.
# CI=true turns "this machine can't" from a skip into a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

need=()
command -v make >/dev/null || need+=(make)
command -v git >/dev/null || need+=(git)
command -v cc >/dev/null || need+=(gcc libc6-dev)
command -v ipvsadm >/dev/null || need+=(ipvsadm)
[ -x /usr/sbin/keepalived ] || command -v keepalived >/dev/null || need+=(keepalived)
command -v ip >/dev/null || need+=(iproute2)
command -v qemu-system-x86_64 >/dev/null || need+=(qemu-system-x86)
if ((${#need[@]})); then
	if [ "$(id -u)" = 0 ]; then
		echo "ci: installing ${need[*]}"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
	else
		echo "ci: not root, going on without: ${need[*]}" >&2
	fi
fi

if [ ! -x /usr/sbin/keepalived ] && ! command -v keepalived >/dev/null; then
	PATH="$(ci/keepalived.sh):$PATH"
fi

export CI=true IPVSLAB_REQUIRE_IPVSADM=1 IPVSLAB_REQUIRE_KEEPALIVED=1
# Virtual machines often offer a /dev/kvm that does not work.
export IPVSLAB_KVM="${IPVSLAB_KVM:-off}"

make lint
make race

# Both launchers are tested, each with its own packaged kernel.
make build
bin/ipvslab kernel fetch
bin/ipvslab --kernel qemu kernel fetch
make test
