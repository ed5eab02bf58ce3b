#!/usr/bin/env bash
# Entry point of the CI image: copy the sources, then run the suite as root if
# this container may configure IPVS, else as an ordinary user in the guest.
set -euo pipefail
cp -a /src/. /work/
export CI=true
if grep -qw ip_vs /proc/modules || [ -e /proc/net/ip_vs ]; then
	exec /work/ci/run.sh
fi
chown -R lab: /work
exec su lab -c 'PATH=$PATH:/usr/local/go/bin CI=true /work/ci/run.sh'
