// Package vrrp is the Virtual Router Redundancy Protocol as values: the
// advertisement's two formats ([Advert]; version 3 of RFC 9568 for IPv4 and
// IPv6, version 2 of RFC 3768 for IPv4, with the passwords of RFC 2338) and the state machine ([Group]).
//
// It is pure: time and packets are handed in, what is to be done comes out as
// [Action]s. It imports nothing of ours; lb/vrrp/wire connects it with a network.
//
// Why it is written here: the Go implementations that were found (catinello.eu/vrrp,
// which goes back to Trisia/govrrp and napw/VRRP-go, and copies of it) speak
// version 3 only, know neither unicast peers nor groups, tie the state machine
// to sockets and to the wall clock, and nobody else imports them. gopacket
// decodes version 2 only.
//
// Words: RFC 9568 says Active and Backup; keepalived, the kernel's sync daemons
// and RFC 3768 say master and backup.
package vrrp
