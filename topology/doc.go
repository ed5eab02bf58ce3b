// Package topology is the topology file as data. It reads a YAML file strictly,
// reports every mistake at once, writes every default out, and gives a [Plan]:
// what the lab builds, with nothing left to decide.
//
// The package is pure: it reads the one file it is given and nothing else of
// the system, and the same file gives the same plan on every machine and every
// GOOS. It imports lb for the values of services, and nothing else of ours.
package topology
