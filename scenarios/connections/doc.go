// Package connections shows what the settings of net.ipv4.vs and the rules for
// connections change: each claim plays the same packets several times, each
// time with one thing different, writes down what the kernel made of every
// packet, and compares that with what is claimed. docs/connections.md is made
// of the claims.
//
// A claim is its own planted defect: what is claimed with one value must not be
// what is seen with another, so a setting that is ignored fails the claim that
// names it.
//
// There is nothing but tests in here. They play on an internal/director, whose
// wires end in the test, so that no timer of a client's or a real server's
// comes in between.
package connections
