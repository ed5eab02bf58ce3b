package lab_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
)

// syncLab is a lab with a director whose kernel tells another's of its connections.
type syncLab struct {
	*testing.T
	*lab.Lab
	master, backup *ipvs.Table
}

// client -- outside -- master, backup -- inside -- rs1.
func newSyncLab(t *testing.T) *syncLab {
	t.Helper()
	needIPVS(t)
	stateRoot(t)
	l := &syncLab{T: t, Lab: up(t, plan(t, "sync.yaml", labName("sync")), lab.Options{})}
	l.master, l.backup = l.table("master"), l.table("backup")
	return l
}

func (l *syncLab) table(node string) *ipvs.Table {
	l.Helper()
	n, err := l.Node(node)
	if err != nil {
		l.Fatal(err)
	}
	table, err := n.Table(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { table.Close() })
	return table
}

// daemons starts the sync daemons afresh: some settings are read at the start only.
func (l *syncLab) daemons(settings ...rtnl.Sysctl) {
	l.Helper()
	for role, table := range map[lb.SyncRole]*ipvs.Table{lb.SyncMaster: l.master, lb.SyncBackup: l.backup} {
		if have, err := table.Daemons(l.Context()); err != nil {
			l.Fatal(err)
		} else if len(have) > 0 {
			if err := table.StopDaemon(l.Context(), role); err != nil {
				l.Fatal(err)
			}
		}
	}
	for _, name := range []string{"master", "backup"} {
		n, err := l.Node(name)
		if err == nil {
			err = n.Do(func() error { return new(rtnl.Settings).Set(settings...) })
		}
		if err != nil {
			l.Fatal(err)
		}
	}
	for role, table := range map[lb.SyncRole]*ipvs.Table{lb.SyncMaster: l.master, lb.SyncBackup: l.backup} {
		if err := table.StartDaemon(l.Context(), lb.SyncDaemon{Role: role, ID: 7, Interface: "inside"}); err != nil {
			l.Fatal(err)
		}
	}
}

// vs is a setting of net.ipv4.vs.
func vs(key, value string) rtnl.Sysctl { return rtnl.Sysctl{Key: "net.ipv4.vs." + key, Value: value} }

// oncePort is of the service whose answers don't find back.
const oncePort = 54

// open opens one connection of the client's and tells its address.
func (l *syncLab) open(port uint16, spec traffic.Spec) (netip.AddrPort, *traffic.Session) {
	l.Helper()
	n, err := l.Node("client")
	if err != nil {
		l.Fatal(err)
	}
	spec.To = netip.AddrPortFrom(netip.MustParseAddr("10.9.0.100"), port)
	s, err := traffic.NewSession(n.Do, spec)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { s.Close() })
	conns, err := s.Open(l.Context(), 1)
	if err != nil || conns[0].Outcome != traffic.Answered && port != oncePort {
		l.Fatalf("port %d: %+v, %v", port, conns, err)
	}
	return conns[0].Source, s
}

// marked opens a connection that is synchronised whatever the settings are, and
// waits until the backup knows it. Messages come in order: what is not there
// by then was not sent. It returns what the backup knows.
func (l *syncLab) marked() map[netip.AddrPort]lb.Conn {
	l.Helper()
	mark, _ := l.open(80, traffic.Spec{Hold: true, Requests: 60})
	ctx, cancel := context.WithTimeout(l.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		conns, err := l.backup.Conns(l.Context())
		if err != nil {
			l.Fatal(err)
		}
		known := map[netip.AddrPort]lb.Conn{}
		for _, c := range conns {
			known[c.Client] = c
		}
		if _, ok := known[mark]; ok {
			return known
		}
		select {
		case <-ctx.Done():
			l.Fatalf("the backup has not heard of %s, but of %d others", mark, len(known))
		case <-tick.C:
		}
	}
}

// What the kernel tells the backup of, by its default settings: connections
// whose third packet has come, those that close, and templates.
func TestSyncedByDefault(t *testing.T) {
	l := newSyncLab(t)
	l.daemons(vs("sync_threshold", "3 50"))
	held := traffic.Spec{Hold: true}
	type opened struct {
		what   string
		source netip.AddrPort
		synced bool
		states []string // of the backup's entry
	}
	var all []opened
	add := func(what string, port uint16, spec traffic.Spec, synced bool, states ...string) *traffic.Session {
		source, s := l.open(port, spec)
		all = append(all, opened{what, source, synced, states})
		return s
	}
	add("http with a request", 80, held, true, "ESTABLISHED")
	add("a handshake alone", 80, traffic.Spec{Protocol: traffic.TCP, ConnectOnly: true, Hold: true}, false)
	add("a handshake, and the end", 80, traffic.Spec{Protocol: traffic.TCP, ConnectOnly: true}, true, "CLOSE_WAIT", "TIME_WAIT", "FIN_WAIT", "LAST_ACK")
	add("one datagram", 53, traffic.Spec{Protocol: traffic.UDP, Hold: true}, false)
	add("three datagrams", 53, traffic.Spec{Protocol: traffic.UDP, Hold: true, Requests: 3}, true, "UDP")
	for range 4 { // from one port: as one connection they would be over the threshold
		source, _ := l.open(oncePort, traffic.Spec{
			Protocol: traffic.UDP, Timeout: 20 * time.Millisecond,
			Sources: []netip.AddrPort{netip.MustParseAddrPort("10.9.0.2:5454")},
		})
		all = append(all, opened{"datagrams, each scheduled by itself", source, false, nil})
	}
	sticky := add("a persistent client's", 81, held, true, "ESTABLISHED")
	known := l.marked()
	for _, o := range all {
		c, ok := known[o.source]
		if ok != o.synced {
			t.Errorf("%s: synchronised: %t, want %t (%+v)", o.what, ok, o.synced, c)
		}
		if ok && !slices.Contains(o.states, c.State) {
			t.Errorf("%s: the backup's entry is %s, want one of %v", o.what, c.State, o.states)
		}
	}
	if c, ok := known[netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), 0)]; !ok || !c.Template() {
		t.Errorf("the persistence template was not synchronised (%d held)", len(sticky.Held()))
	}
}

// What the settings change.
func TestSyncSettings(t *testing.T) {
	if testing.Short() {
		t.Skip("each setting waits for the daemon's two seconds; `make test-long` tries them")
	}
	l := newSyncLab(t)
	template := netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), 0)
	request := func(n int) traffic.Spec { return traffic.Spec{Hold: true, Requests: n} }
	for _, test := range []struct {
		name     string
		settings []rtnl.Sysctl
		port     uint16
		spec     traffic.Spec
		synced   bool
	}{
		{"a threshold that is not reached", []rtnl.Sysctl{vs("sync_threshold", "20 50")}, 80, request(1), false},
		{"a threshold that is", []rtnl.Sysctl{vs("sync_threshold", "20 50")}, 80, request(30), true},
		{"a threshold of the first packets", []rtnl.Sysctl{vs("sync_threshold", "2 50")}, 80, request(1), true},
		{"no period: once, at the threshold", []rtnl.Sysctl{vs("sync_threshold", "3 0")}, 80, request(1), true},
		{"persistent connections by their template alone", []rtnl.Sysctl{vs("sync_threshold", "3 50"), vs("sync_persist_mode", "1")}, 81, request(5), false},
		{"and with their entries", []rtnl.Sysctl{vs("sync_persist_mode", "0")}, 81, request(5), true},
		{"a refresh period: at once, then seldom", []rtnl.Sysctl{vs("sync_threshold", "3 0"), vs("sync_refresh_period", "10")}, 80, request(2), true},
		{"the old version of messages", []rtnl.Sysctl{vs("sync_threshold", "3 50"), vs("sync_refresh_period", "0"), vs("sync_version", "0")}, 80, request(2), true},
		{"two ports, small buffers", []rtnl.Sysctl{vs("sync_version", "1"), vs("sync_ports", "2"), vs("sync_sock_size", "65536"), vs("sync_qlen_max", "100"), vs("sync_retries", "2")}, 80, request(2), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &syncLab{T: t, Lab: l.Lab, master: l.master, backup: l.backup}
			l.daemons(test.settings...)
			source, _ := l.open(test.port, test.spec)
			known := l.marked()
			if c, ok := known[source]; ok != test.synced {
				t.Errorf("synchronised: %t, want %t (%+v)", ok, test.synced, c)
			}
			if _, ok := known[template]; test.port == 81 && !ok {
				t.Error("the template was not synchronised")
			}
		})
	}
}

// Clients that a hashing scheduler has sent somewhere are sent there by another
// director too, which knows nothing of them: same table, same order.
func TestHashingSchedulersNeedNoSync(t *testing.T) {
	needIPVS(t)
	stateRoot(t)
	schedulers := []string{"mh", "sh"}
	if testing.Short() {
		schedulers = schedulers[:1]
	}
	for _, scheduler := range schedulers {
		p := plan(t, "hash.yaml", labName(scheduler))
		p.Services[0].Spec.Scheduler = scheduler
		l := up(t, p, lab.Options{})
		node, err := l.Node("client")
		if err != nil {
			t.Fatal(err)
		}
		var sources []netip.AddrPort
		for i := range 40 {
			sources = append(sources, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 2, byte(i + 1)}), 0))
		}
		visit := func() []string {
			t.Helper()
			res, err := traffic.Run(t.Context(), node.Do, traffic.Spec{
				To: netip.MustParseAddrPort("10.9.0.100:80"), Connections: len(sources), Sources: sources, Concurrency: 8,
			})
			if err != nil || res.Answered() != len(sources) {
				t.Fatalf("%s: %v: %v", scheduler, err, res.Errors)
			}
			return res.Sequence()
		}
		before := visit()
		do(t, l, "master kill")
		do(t, l, "master link-down")
		awaitAddress(t, l, "backup", "10.9.0.100")
		if after := visit(); !slices.Equal(before, after) {
			t.Errorf("%s: clients moved when the director did:\n%v\n%v", scheduler, before, after)
		}
		slices.Sort(before)
		if who := slices.Compact(before); len(who) != 3 {
			t.Errorf("%s: only %v were visited", scheduler, who)
		}
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitAddress waits until a node has an address.
func awaitAddress(t testing.TB, l *lab.Lab, node, addr string) {
	t.Helper()
	n, err := l.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var have []net.Addr
		if err := n.Do(func() (err error) { have, err = net.InterfaceAddrs(); return err }); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(have, func(a net.Addr) bool { return a.String() == addr+"/32" }) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not have %s but %v", node, addr, have)
		case <-tick.C:
		}
	}
}
