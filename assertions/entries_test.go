package assertions_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/assertions"
	"github.com/ipvslab/ipvslab/lb"
)

func entry(port uint16, state string, expires time.Duration) lb.Conn {
	return lb.Conn{
		Protocol: lb.TCP, State: state, Expires: expires, Client: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port),
		Virtual: netip.MustParseAddrPort("10.0.0.100:80"), Real: netip.MustParseAddrPort("10.1.0.11:8080"),
	}
}

func TestHaveEntry(t *testing.T) {
	one, other := entry(40000, "ESTABLISHED", 900*time.Second), entry(40001, "SYN_RECV", 59*time.Second)
	table := []lb.Conn{one, other}
	var many []lb.Conn
	for i := range 25 {
		many = append(many, entry(41000+uint16(i), "ESTABLISHED", time.Minute))
	}
	whole := assertions.Entry{Protocol: lb.TCP, Client: one.Client, Virtual: one.Virtual, Real: one.Real, States: []string{"SYN_RECV", "ESTABLISHED"}, AtMost: 900 * time.Second}
	// but is the entry with one field changed: each must count.
	but := func(change func(*assertions.Entry)) assertions.Entry {
		e := whole
		change(&e)
		return e
	}
	elsewhere := netip.MustParseAddrPort("10.9.9.9:9")
	verdicts := []verdict{
		{"every field", assertions.HaveEntry(whole), table, true},
		{"by client", assertions.HaveEntry(assertions.Entry{Client: other.Client}), table, true},
		{"by state", assertions.HaveEntry(assertions.Entry{States: []string{"SYN_RECV"}}), table, true},
		{"no entries", assertions.HaveEntry(whole), []lb.Conn{}, false},
		{"among many", assertions.HaveEntry(whole), many, false},
	}
	for name, e := range map[string]assertions.Entry{
		"protocol": but(func(e *assertions.Entry) { e.Protocol = lb.UDP }),
		"client":   but(func(e *assertions.Entry) { e.Client = elsewhere }),
		"virtual":  but(func(e *assertions.Entry) { e.Virtual = elsewhere }),
		"real":     but(func(e *assertions.Entry) { e.Real = elsewhere }),
		"state":    but(func(e *assertions.Entry) { e.States = []string{"FIN_WAIT"} }),
		"timer":    but(func(e *assertions.Entry) { e.AtMost = 899 * time.Second }),
	} {
		if pass, err := assertions.HaveEntry(e).Match(table); pass || err != nil {
			t.Errorf("another %s: got %t, %v", name, pass, err)
		}
	}
	verdicts = append(verdicts, verdict{"another state", assertions.HaveEntry(but(func(e *assertions.Entry) { e.States = []string{"FIN_WAIT"} })), table, false})
	judge(t, "have_entry", verdicts...)
	mistaken(t, assertions.HaveEntry(whole), "not lb.Conn", one)
	mistaken(t, assertions.HaveEntry(assertions.Entry{Virtual: one.Virtual}),
		fmt.Sprintf("2 connection entries are any protocol any -> 10.0.0.100:80 -> any, which is to name one:\n    %s\n    %s", one, other), table)
}
