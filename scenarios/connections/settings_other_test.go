package connections_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// otherSettings are what is left: statistics, caches, and what can't be shown.
func otherSettings() []claim {
	return []claim{
		{
			name:   "run_estimation",
			waits:  true,
			does:   "counts connections, packets and bytes into the statistics, every 2 s",
			source: "ip_vs_est.c",
			play: func(b *bench, value string) {
				count := func(b *bench, value string) {
					b.set("run_estimation", value)
					b.serve(lb.Service{}, lb.DR, 1)
					for n := range 5 {
						b.quiet(n+1, syn)
					}
				}
				count(b, value)
				judge := b
				if value == "0" {
					judge = newBench(b.T)
					count(judge, "1")
				}
				judge.await("statistics", settleTimeout, func() bool { return judge.destination(1).Counters.Conns > 0 })
				c := b.destination(1).Counters
				live, err := b.table.LiveTotals(b.Context())
				b.must(err)
				b.note("s1: %d connections, %d packets in the statistics; %d active; %d connections in the live totals", c.Conns, c.InPkts, c.Active, live.Conns)
			},
			variants: []variant{
				{value: "0", shows: "the statistics stay at zero; the live counters (active, /proc/net/ip_vs_stats_percpu) do not", want: []string{
					"s1: 0 connections, 0 packets in the statistics; 5 active; 5 connections in the live totals",
				}},
				{value: "1", shows: "the statistics have all connections and packets", want: []string{
					"s1: 5 connections, 5 packets in the statistics; 5 active; 5 connections in the live totals",
				}},
			},
		},
		{
			name:   "lblcr_expiration",
			does:   "lets an lblcr destination's set of real servers shrink, by the most loaded, when it has not changed for that many seconds",
			source: "ip_vs_lblcr.c, ip_vs_lblcr_schedule",
			play: func(b *bench, value string) {
				b.set("lblcr_expiration", value)
				b.serve(lb.Service{Scheduler: "lblcr"}, lb.NAT, 2)
				for _, n := range []int{1, 2} {
					b.edit(n, func(d *lb.Destination) { d.Weight = 2 })
				}
				for n := range 4 { // the fourth finds s1 overloaded, and s2 joins the set
					b.ask(n+1, syn)
				}
				b.tick()
				b.ask(5, syn)
				for n := range 3 { // s1 is free again
					b.quiet(n+1, fin|ack)
				}
				b.counters()
				b.ask(6, syn)
			},
			variants: []variant{
				{value: "0", shows: "s1 was dropped from the set as the most loaded: later connections go to s2, though s1 is free again", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s1 SYN",
					"c3>vip SYN: to servers c3>s1 SYN",
					"c4>vip SYN: to servers c4>s2 SYN",
					"c5>vip SYN: to servers c5>s2 SYN",
					"counters: s1 0 active 3 inactive, s2 2 active 0 inactive",
					"c6>vip SYN: to servers c6>s2 SYN",
				}},
				{value: "86400", shows: "s1 is still in the set and gets the next connection", want: []string{
					"c1>vip SYN: to servers c1>s1 SYN",
					"c2>vip SYN: to servers c2>s1 SYN",
					"c3>vip SYN: to servers c3>s1 SYN",
					"c4>vip SYN: to servers c4>s2 SYN",
					"c5>vip SYN: to servers c5>s2 SYN",
					"counters: s1 0 active 3 inactive, s2 2 active 0 inactive",
					"c6>vip SYN: to servers c6>s1 SYN",
				}},
			},
		},
		{
			name: "est_nice", optional: true,
			does:   "the priority of the estimation threads, which gather the statistics from 6.2 on",
			source: "ip_vs_ctl.c, ipvs_proc_est_nice",
			play: func(b *bench, value string) {
				b.set("est_nice", value)
				b.serve(lb.Service{}, lb.DR, 1)
				b.await("an estimation thread of that priority", settleTimeout, func() bool { return slices.Contains(estimators(b), value) })
				b.note("an estimation thread has nice %s", value)
			},
			variants: []variant{
				{value: "5", shows: "its thread has that priority", want: []string{"an estimation thread has nice 5"}},
				{value: "-5", shows: "its thread has that priority", want: []string{"an estimation thread has nice -5"}},
			},
		},
		{
			name:   "lblc_expiration",
			does:   "forgets an lblc entry that was not used for that many seconds",
			source: "ip_vs_lblc.c, ip_vs_lblc_check_expire",
			cannot: "the kernel looks every 60 s, and at every entry only after 30 min: longer than a test may take",
		},
		{
			name: "est_cpulist", optional: true,
			does:   "the processors that the estimation threads may use, from 6.2 on",
			source: "ip_vs_ctl.c, ipvs_proc_est_cpumask_set",
			cannot: "a user-mode guest has one processor, so there is nothing to choose from",
		},
		{
			name:   "debug_level",
			does:   "how much the kernel logs about IPVS, where it was built with CONFIG_IP_VS_DEBUG",
			source: "net/ip_vs.h, IP_VS_DBG",
			cannot: "it changes nothing but the kernel's log, which is not a namespace's",
		},
		{
			name:   "sync_version sync_ports sync_persist_mode sync_qlen_max sync_sock_size sync_threshold sync_refresh_period sync_retries",
			does:   "what the sync daemons send, when and how",
			source: "ip_vs_sync.c",
			cannot: "it takes two directors: left to the specs of the sync daemons",
		},
		{
			name:   "conn_tab_bits",
			does:   "no setting but a parameter of the module: the connection table has 2 to that power rows, 4,096 unless told otherwise",
			source: "ip_vs_conn.c, ip_vs_conn_init",
			cannot: "it is one for the whole kernel and read when the module is loaded, so a topology can't ask for it; `ipvsadm -Ln` shows it (size=4096)",
		},
	}
}

// estimators are the priorities of the kernel's estimation threads, of all
// namespaces (ip_vs_est.c, ip_vs_est_kthread_start; proc_pid_stat(5)).
func estimators(b *bench) []string {
	b.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	b.must(err)
	var out []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		name, rest, ok := strings.Cut(string(text), ") ")
		if err != nil || !ok || !strings.Contains(name, "(ipvs-e:") {
			continue // it may have ended
		}
		const nice = 19 - 3 // the third field is the first after the name
		out = append(out, strings.Fields(rest)[nice])
	}
	return out
}

// tick lets the kernel's clock go on.
func (b *bench) tick() {
	b.Helper()
	began := time.Now()
	b.await("the clock", settleTimeout, func() bool { return time.Since(began) > 50*time.Millisecond })
}
