package lab_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/topology"
)

// do does a fault said in the command line's words.
func do(t testing.TB, l *lab.Lab, text string) {
	t.Helper()
	if err := attempt(t, l, text); err != nil {
		t.Fatal(err)
	}
}

func attempt(t testing.TB, l *lab.Lab, text string) error {
	t.Helper()
	f, err := topology.ParseFault(strings.Fields(text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Fault(t.Context(), f)
	return err
}

// inForce checks what is recorded and shown.
func inForce(t testing.TB, l *lab.Lab, want ...string) {
	t.Helper()
	st, err := l.Status()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range st.Faults {
		got = append(got, f.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}
}

// answers tells whether a node's built-in server answers another node.
func answers(t testing.TB, l *lab.Lab, node, host string, within time.Duration) bool {
	t.Helper()
	from, err := l.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	spec := traffic.Spec{To: netip.AddrPortFrom(netip.MustParseAddr(host), 80), Timeout: within}
	res, err := traffic.Run(t.Context(), from.Do, spec)
	if err != nil {
		t.Fatal(err)
	}
	return res.Answered() == 1
}

// silent tells whether a node gets no answer, for much longer than one takes on
// a lab's wires.
func silent(t testing.TB, l *lab.Lab, node, host string) bool {
	t.Helper()
	return !answers(t, l, node, host, 150*time.Millisecond)
}

// reaches waits as well for a neighbour that was asked for in vain: it is asked
// for again once a second (RFC 4861, section 10).
func reaches(t testing.TB, l *lab.Lab, node, host string) bool {
	t.Helper()
	return answers(t, l, node, host, 4*time.Second)
}

// client === router -- lan -- A_very-long_node-name-1, 2b: over IPv4 and IPv6,
// by a cable and by a bridge. What is cut is cut for both, and works again with
// all addresses and routes as they were.
func TestLinksAreCutAndMended(t *testing.T) {
	probetest.Namespaces(t)
	stateRoot(t)
	l := up(t, plan(t, "dual.yaml", labName("cut")), lab.Options{})
	const a = "A_very-long_node-name-1"
	hosts := []string{"10.9.9.11", "fd00:9::11"}
	all := func(node string, want bool) {
		t.Helper()
		for _, h := range hosts {
			if ok := want && reaches(t, l, node, h) || !want && silent(t, l, node, h); !ok {
				t.Errorf("%s reaches %s: %t", node, h, !want)
			}
		}
	}
	settings := func(node string) string {
		return run(t, l, node, "ip -o address; ip route; ip -6 route | grep -v '^multicast' | sort") // the order of equal ones changes
	}
	before := settings("client")
	for _, cut := range []struct{ node, other, record string }{
		{"client", "2b", "client link-down on cable"},
		{a, "", a + " link-down on lan"},
	} {
		do(t, l, cut.node+" link-down")
		do(t, l, cut.node+" link-down") // twice is no mistake
		inForce(t, l, cut.record)
		all("client", false)
		if cut.other != "" {
			all(cut.other, true)
		}
		do(t, l, cut.node+" link-up")
		inForce(t, l)
		all("client", true)
	}
	if diff := cmp.Diff(before, settings("client")); diff != "" {
		t.Errorf("the client is not as before (-before +now):\n%s", diff)
	}
	out := run(t, l, a, "ip -o link show lan")
	if !strings.Contains(out, "LOWER_UP") {
		t.Error(out)
	}
}

// router -- lan -- A_very-long_node-name-1, 2b: two of three don't see each
// other, the third sees both.
func TestPartition(t *testing.T) {
	probetest.Namespaces(t)
	probetest.Features(t, probe.SkbEdit)
	stateRoot(t)
	l := up(t, plan(t, "dual.yaml", labName("split")), lab.Options{})
	const a, host = "A_very-long_node-name-1", "fd00:9::11"
	do(t, l, a+" partition 2b")
	do(t, l, a+" partition 2b")
	inForce(t, l, a+" partition 2b")
	if !silent(t, l, "2b", host) || !silent(t, l, "2b", "10.9.9.11") {
		t.Error("2b still sees what it is cut off from")
	}
	run(t, l, "2b", "ip link set dev lan address 00:00:5e:00:01:33") // as with keepalived's use_vmac
	if !silent(t, l, "2b", host) || !silent(t, l, "2b", "10.9.9.11") {
		t.Error("2b has another hardware address, and sees what it is cut off from")
	}
	if !reaches(t, l, "client", host) || !reaches(t, l, "client", "10.9.9.11") {
		t.Error("the client does not see a node that was cut off from another one")
	}
	do(t, l, a+" partition router out")
	do(t, l, "2b heal")
	inForce(t, l, a+" partition router out")
	if !reaches(t, l, "2b", host) {
		t.Error("the partition was healed, and is still there")
	}
	if !silent(t, l, "client", host) || !silent(t, l, "client", "10.9.9.11") {
		t.Error("the router hears a node that it is not to hear")
	}
	do(t, l, "router heal")
	do(t, l, "client partition router") // by a cable
	if !silent(t, l, "client", host) || !reaches(t, l, "2b", host) {
		t.Error("the client sees who is at the other end of its cable, or 2b sees nobody")
	}
	do(t, l, "client heal")
	if !reaches(t, l, "client", host) {
		t.Error("the cable was healed, and is still dead")
	}
	if err := attempt(t, l, "client partition 2b"); err == nil || !strings.Contains(err.Error(), "share no network") {
		t.Errorf("client and 2b are on different networks: %v", err)
	}
	if _, err := l.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	inForce(t, l)
	if !reaches(t, l, "client", host) {
		t.Error("all was healed, and the router still does not hear the node")
	}
}

// Loss and delay at one interface, and between two nodes only.
func TestLossAndDelay(t *testing.T) {
	probetest.Namespaces(t)
	probetest.Features(t, "qdisc:netem")
	stateRoot(t)
	l := up(t, plan(t, "dual.yaml", labName("loss")), lab.Options{})
	ask := func(node string, n int) traffic.Result {
		t.Helper()
		from, err := l.Node(node)
		if err != nil {
			t.Fatal(err)
		}
		res, err := traffic.Run(t.Context(), from.Do, traffic.Spec{
			Protocol: traffic.UDP, To: netip.MustParseAddrPort("10.9.9.11:53"), Connections: n, Concurrency: n, Timeout: 2 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	soon := func(node string, within time.Duration) { // one of many is enough: a machine may stand still
		t.Helper()
		var least time.Duration
		for range 20 {
			if least = ask(node, 5).Latency.Min(); least <= within {
				return
			}
		}
		t.Errorf("node %s, which nothing delays, waits %v", node, least)
	}
	const server = "A_very-long_node-name-1"
	run(t, l, server, "ip link set dev lan address 00:00:5e:00:01:33")
	ask("2b", 1) // each other's addresses are known
	do(t, l, server+" loss 50% out")
	if n := ask("2b", 200).Answered(); n < 40 || n > 160 {
		t.Errorf("of 200 answers %d came, at 50%% loss", n)
	}
	do(t, l, "2b loss 100% with "+server)
	inForce(t, l, server+" loss 50% out", "2b loss 100% with "+server)
	if n := ask("2b", 5).Answered(); n != 0 {
		t.Errorf("of 5 packets %d were answered, at 100%% loss", n)
	}
	do(t, l, server+" loss 0%")
	inForce(t, l, "2b loss 100% with "+server)
	if n := ask("client", 20).Answered(); n != 20 {
		t.Errorf("of 20 packets of a node that is not meant %d were answered", n)
	}
	do(t, l, "2b heal")
	if n := ask("2b", 20).Answered(); n != 20 {
		t.Errorf("of 20 packets %d were answered when the loss was over", n)
	}
	do(t, l, "router delay 30ms with "+server)
	do(t, l, "client delay 20ms out")
	do(t, l, "client loss 1% in")
	if d := ask("client", 5).Latency.Min(); d < 79*time.Millisecond {
		t.Errorf("20 ms one way and 30 ms both ways make %v", d)
	}
	soon("2b", 59*time.Millisecond)
	if _, err := l.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	soon("client", 19*time.Millisecond)
	if n := ask("client", 20).Answered(); n != 20 {
		t.Errorf("all was healed, but of 20 packets %d were answered", n)
	}
}

// A command and its child, and a node's servers.
func TestProcessesAreKilledFrozenAndRestarted(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	p := plan(t, "nat.yaml", labName("proc"))
	p.Nodes[3].Responders = nil
	p.Nodes[3].Commands = []topology.Command{{
		Name:  "srv",
		Argv:  []string{"/bin/sh", "-c", "sleep 1000 & trap 'echo cleanly; kill $!; exit' TERM; echo begun; wait"},
		Ready: topology.Ready{Log: "begun"},
	}}
	l := up(t, p, lab.Options{NoServices: true, Agent: lab.Detached})
	count := func(states string) int {
		out := run(t, l, "rs2", "for p in $(pgrep -f 'sleep 1000'); do sed 's/.*) //' /proc/$p/stat; done")
		n := 0
		for line := range strings.Lines(out) {
			if strings.Contains(states, line[:1]) {
				n++
			}
		}
		return n
	}
	running := count("SR")
	do(t, l, "rs2 freeze")
	do(t, l, "rs2 freeze srv")
	inForce(t, l, "rs2 freeze srv")
	if n := count("T"); n != 2 {
		t.Errorf("%d processes are frozen, not the shell and its child", n)
	}
	do(t, l, "rs2 resume")
	inForce(t, l)
	if n := count("SR"); n != running {
		t.Errorf("%d processes of %d run again", n, running)
	}
	do(t, l, "rs2 kill")
	do(t, l, "rs2 kill")
	inForce(t, l, "rs2 kill srv")
	if n := count("SRT"); n != running-2 {
		t.Errorf("%d processes are left, %d were there", n, running)
	}
	if err := attempt(t, l, "rs2 freeze"); err == nil || !strings.Contains(err.Error(), "restart srv") {
		t.Errorf("a dead process was frozen: %v", err)
	}
	do(t, l, "rs2 heal")
	inForce(t, l)
	do(t, l, "rs2 freeze")
	do(t, l, "rs2 stop") // it is told, and hears it
	inForce(t, l, "rs2 stop srv")
	if out := run(t, l, "rs2", "cat "+l.Dir()+"/rs2.srv.log"); out != "begun\ncleanly\n" {
		t.Errorf("the log says %q", out)
	}
	do(t, l, "rs2 restart")
	do(t, l, "rs2 freeze")

	do(t, l, "rs1 kill")
	if !silent(t, l, "client", "10.9.1.11") {
		t.Error("a server that was killed answers")
	}
	if err := attempt(t, l, "rs1 freeze"); err == nil || !strings.Contains(err.Error(), "loss 100%") {
		t.Errorf("built-in servers were frozen: %v", err)
	}
	inForce(t, l, "rs2 freeze srv", "rs1 kill responders")
	do(t, l, "rs1 heal")
	if !reaches(t, l, "client", "10.9.1.11") {
		t.Error("a server that was restarted does not answer")
	}
	for text, why := range map[string]string{
		"rs1 kill web":      `no process "web"; allowed: responders`,
		"client kill":       "no process to kill",
		"client loss 3% on": `no interface "on"`,
		"nobody heal":       "no such node",
		"rs1 partition x":   "no such node",
	} {
		if err := attempt(t, l, text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v; want %q", text, err, why)
		}
	}
	if err := l.Down(t.Context()); err != nil { // with a frozen process
		t.Fatal(err)
	}
	nothingLeft(t, dir, l.Name())
}
