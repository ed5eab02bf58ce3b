// Package wire connects the state machine of lb/vrrp with a network namespace:
// raw sockets for advertisements, floating addresses on interfaces, gratuitous
// ARP and unsolicited neighbour advertisements, and the links' states.
//
// As keepalived does unless told otherwise, it uses the interfaces' own hardware
// addresses, not the virtual ones of RFC 9568, section 7.3: whoever takes over
// tells the network by ARP.
//
// Invariants: one thread does all that others wait for, so that nothing is late but what the
// kernel makes late; whatever is put on an interface is read back; a [Speaker]
// that is stopped has given up every address, one that is killed leaves them.
package wire
