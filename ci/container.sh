#!/usr/bin/env bash
# Entry point of the CI image: copy the sources, then run the suite as root if
# this container may configure IPVS, else as an ordinary user in the guest.
set -euo pipefail
cp -a /src/. /build/
export CI=true
if grep -qw ip_vs /proc/modules || [ -e /proc/net/ip_vs ]; then
	exec /build/ci/run.sh
fi
chown -R lab: /build
exec su lab -c 'PATH=$PATH:/usr/local/go/bin CI=true /build/ci/run.sh'
