#!/usr/bin/python3
"""The article's topology in mininet: 5 hosts, two LinuxBridge switches; up, then down.

What `make bench` measures ipvslab's up and down against. No IPVS.
"""
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge

net = Mininet(switch=LinuxBridge, controller=None, waitConnected=False)
outside, inside = net.addSwitch("s1"), net.addSwitch("s2")
client = net.addHost("client", ip=None)
master = net.addHost("master", ip=None)
backup = net.addHost("backup", ip=None)
real1 = net.addHost("real1", ip=None)
real2 = net.addHost("real2", ip=None)

for host, switch, address in (
    (client, outside, "192.168.1.103/24"),
    (master, outside, "192.168.1.117/24"),
    (master, inside, "172.10.100.128/24"),
    (backup, outside, "192.168.1.118/24"),
    (backup, inside, "172.10.100.129/24"),
    (real1, inside, "172.10.100.130/24"),
    (real2, inside, "172.10.100.131/24"),
):
    link = net.addLink(host, switch)
    host.setIP(address.split("/")[0], prefixLen=24, intf=link.intf1)

net.start()
for host in net.hosts:
    host.cmd("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0")
for host in (master, backup):
    host.cmd("sysctl -qw net.ipv4.ip_forward=1")
client.cmd("ip route add 172.10.100.0/24 via 192.168.1.117")
for host in (real1, real2):
    host.cmd("ip route add default via 172.10.100.128")
net.stop()
