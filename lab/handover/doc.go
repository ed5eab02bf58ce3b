// Package handover measures what clients notice when one director takes over
// from another, or anything else goes wrong: how long nobody was served, what
// was lost, which streams went on.
//
// [Run] is a client in one node. It keeps streams open, each of which sends a
// numbered request at a steady pace without waiting for the answer to the one
// before, and opens new connections at a steady rate, whatever becomes of
// those under way. Meanwhile it has [Event]s happen. It ends by itself.
//
// A gap is the time from the last answer before to the first answer after: the
// new connections show when service is there again, the streams what TCP's
// retransmission makes of it (RFC 6298: they may notice late).
//
// Like package traffic it is told of namespaces as functions, and imports
// nothing else of the lab.
package handover
