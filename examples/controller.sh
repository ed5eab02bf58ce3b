#!/bin/sh
# A controller of one's own for examples/controller.yaml: it sets the table by
# ipvsadm, again on SIGHUP (ipvslab reload), and ends with SIGTERM.
apply() {
	ipvsadm --clear
	ipvsadm-restore <"$IPVSLAB_RULES" || exit 1
	echo "$IPVSLAB_NODE carries $IPVSLAB_VIPS"
}
trap apply HUP
trap 'exit 0' TERM
apply
while :; do
	sleep 1000 &
	wait $! # unlike sleep itself, it ends with a signal
	kill $! 2>/dev/null
done
