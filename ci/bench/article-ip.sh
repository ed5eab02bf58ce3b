#!/usr/bin/env bash
# The article's topology as a careful person would script it with iproute2:
# what `make bench` measures ipvslab's up and down against. No IPVS.
#
#   article-ip.sh up | down
set -euo pipefail
P=bench-ip
nodes=(client master master-backup real1 real2)

link() { # node interface bridge address
	ip -n $P-fabric link add "${1:0:9}.$2" type veth peer name "$2" netns "$P-$1"
	ip -n $P-fabric link set "${1:0:9}.$2" master "$3" up
	ip -n "$P-$1" address add "$4" dev "$2"
	ip -n "$P-$1" link set "$2" up
}

set_sysctls() { # node setting...
	local node=$1
	shift
	ip netns exec "$P-$node" sysctl -qw "$@"
}

up() {
	ip netns add $P-fabric
	for bridge in outside inside; do
		ip -n $P-fabric link add $bridge type bridge
		ip -n $P-fabric link set $bridge up
	done
	for n in "${nodes[@]}"; do
		ip netns add "$P-$n"
		ip -n "$P-$n" link set lo up
	done
	link client eth0 outside 192.168.1.103/24
	link master eth0 outside 192.168.1.117/24
	link master eth1 inside 172.10.100.128/24
	link master-backup eth0 outside 192.168.1.118/24
	link master-backup eth1 inside 172.10.100.129/24
	link real1 eth0 inside 172.10.100.130/24
	link real2 eth0 inside 172.10.100.131/24
	for n in "${nodes[@]}"; do
		set_sysctls "$n" net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
			net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0 \
			net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.all.accept_redirects=0
	done
	for n in master master-backup; do set_sysctls "$n" net.ipv4.ip_forward=1; done
	ip -n $P-client route add 172.10.100.0/24 via 192.168.1.117
	ip -n $P-real1 route add default via 172.10.100.128
	ip -n $P-real2 route add default via 172.10.100.128
	for n in real1 real2; do
		ip netns exec "$P-$n" sh -c "while :; do sleep 3600; done" >/dev/null 2>&1 </dev/null &
		echo $! >>/tmp/$P.pids
	done
}

down() {
	[ -f /tmp/$P.pids ] && xargs -r kill </tmp/$P.pids 2>/dev/null
	rm -f /tmp/$P.pids
	for n in "${nodes[@]}" fabric; do ip netns del "$P-$n"; done
}

"$1"
