// Package scenarios proves what a lab does, with ginkgo specs made for its
// plan: what every lab must show (links, settings, responders, tables, who
// answers through each service, every hop on the wire, connection entries, and
// that nothing stays behind), and the file's own scenarios. What does not apply
// to a lab is not generated.
//
// How a verdict comes about:
//   - The specs read a plan; the kernel is asked what is there. A service
//     begins each counting spec in a fresh state: it is taken out of the
//     director's table, its connection entries are flushed
//     (expire_nodest_conn=1 for that moment), and it is put back as the kernel
//     had it, not as planned, so that a difference from the plan stays to be
//     seen, and a lab that was up before is left as it was.
//   - The scheduler's model (lb/oracle) is made from the plan, and predicts
//     each pick after the fact, from the clients' addresses and ports.
//   - Three witnesses count the same connections: what the client was answered,
//     what each real server accepted, and the director's connection entries
//     and statistics.
//   - Nodes are compared with the plan both ways: what is there and was not asked
//     for (routes, rules, neighbours, queueing disciplines, timeouts) is as wrong
//     as what is missing, and is looked for again at the end. Only what the
//     user's own programs may have made is left out. Packet filters, which no
//     plan can ask for, are noted.
//   - A failed spec leaves evidence in a directory: tables, entries,
//     addresses, routes, settings, what was accepted, and a pcapng file.
//
// ginkgo runs one suite per process, hence one [Run] per process.
//
// The package must not import internal/guest: it runs where the kernel is.
package scenarios
