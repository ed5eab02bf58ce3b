// Package ipvsadm is ipvsadm 1.31 as values and pure functions: its grammar
// ([Parse]), its listings (the Print functions), and [Run], which carries a
// command line out on an [lb.Table] with the original's messages and exit
// statuses, byte for byte.
//
// Invariants: what goes to standard output and standard error is what the
// original writes, for a script reads it; what this project adds (hints,
// --check) is off unless it is asked for. Differences that remain are listed
// with their reasons in docs/ipvsadm.md, and the differential test compares
// everything else with the real program in a real kernel.
//
// The package must not import netlink or namespace code: the kernel is
// reached through lb.Table, connection entries through [Env.Conns]. The
// sources of its rules are ipvsadm(8) and the behaviour of Debian's ipvsadm
// 1:1.31-1 with popt 1.19.
package ipvsadm
