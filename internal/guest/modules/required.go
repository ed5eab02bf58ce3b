package modules

import "slices"

// First are the modules that every lab needs, or that others take for granted:
// a guest loads them before anything runs. A kernel lacks some; that is no error.
func First() []string {
	return []string{"overlay", "ipv6", "veth", "bridge", "ip_vs", "af_packet"}
}

// schedulers are IPVS's.
var schedulers = []string{
	"ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_sed", "ip_vs_nq",
	"ip_vs_lblc", "ip_vs_lblcr", "ip_vs_dh", "ip_vs_sh", "ip_vs_mh", "ip_vs_fo", "ip_vs_ovf", "ip_vs_twos",
}

// Later are the modules that some labs and scenarios need, of which a guest gets
// copies made small. The kernel asks for them when it is to do something that needs
// them ([Plan.With] is for those that are known to be needed). Each costs 5 ms in
// user-mode Linux, however small it is: to give back what it needed to start, the
// kernel goes through all of its memory's page table (mm/vmalloc.c:
// vm_remove_mappings), and does so when other things are to be done.
func Later() []string {
	return slices.Concat(schedulers, []string{
		"dummy",
		// forwarding by tunnel
		"ipip", "sit", "ip6_tunnel", "ip_gre", "ip6_gre", "fou", "fou6",
		// firewall marks, by whichever means the kernel has
		"sch_ingress", "cls_matchall", "cls_flower", "cls_u32", "act_skbedit", "act_gact",
		"iptable_mangle", "ip6table_mangle", "xt_mark", "xt_tcpudp", "xt_multiport", "x_tables",
		"ip_tables", "ip6_tables", "nfnetlink", "nf_tables", "nft_ct", "nft_compat",
		// persistence by protocol
		"ip_vs_pe_sip", "ip_vs_ftp",
		// connections, and NAT beside IPVS's own
		"nf_conntrack", "nf_conntrack_netlink", "iptable_filter", "ip6table_filter", "iptable_nat", "ip6table_nat",
		"xt_conntrack", "xt_MASQUERADE", "xt_ipvs", "xt_nat", "nft_chain_nat", "nft_masq",
		// trouble on the line, other transports, odds and ends of tests
		"sch_netem", "sch_prio", "sctp", "inet_diag", "tcp_diag", "udp_diag", "tun", "macvlan",
	})
}

// Required are all the modules that a kernel for labs is to have.
func Required() []string { return append(First(), Later()...) }

// Root are the modules that a QEMU guest needs in its initramfs to reach the
// host's file tree (9p over virtio, on a PCI bus or memory-mapped) and its
// line to the host (a virtio console).
func Root() []string {
	return []string{"virtio_mmio", "virtio_pci", "9p", "9pnet_virtio", "virtio_console"}
}
