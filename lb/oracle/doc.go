// Package oracle predicts every choice of an IPVS scheduler.
//
// A [Model] is one virtual service as the kernel holds it: the destination
// list, the scheduler's own state, the connection entries and the persistence
// templates. It is fed with the events the kernel sees, in the same order, and
// names the destination of each new connection before the kernel does. The
// rules are those of net/netfilter/ipvs in Linux 6.1; each one names its file.
//
// Invariants: a model is deterministic (but for twos, which is random in the
// kernel too and has a [Model.Distribution] instead), keeps no time of its own
// (nothing expires unless told) and is not safe for concurrent use.
//
// What it leaves out, because it takes minutes to hours in a kernel or another
// machine: the clearing of old lblc and lblcr entries by timer, drop_entry and
// drop_packet, entries made by the synchronisation daemon, and 32-bit kernels,
// whose mh hashes differently.
//
// The package is pure: it imports lb and the standard library, nothing else.
package oracle
