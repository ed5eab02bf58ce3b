// Package embedded is the director that ipvslab brings along: it lives in one
// network namespace, keeps that namespace's IPVS table as its configuration
// says, and tells what it does as events.
//
// [Run] is its whole life. It works in the namespace of its process unless the
// configuration names another. Killed, it leaves what the kernel holds; started
// again it adopts that and makes it right. Ended by its context it gives up
// what must not stay behind it.
//
// Every change is an [Event]: a line of JSON in its log, and on its control
// socket ([Client]), where a test or `ipvslab` can wait for one.
//
// The package may import lb and what is below it, and the namespaces' plumbing
// (internal/netns, internal/rtnl); neither topology nor lab.
package embedded
