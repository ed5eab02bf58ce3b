package rtnl_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space makes a namespace for the test, or skips if the kernel refuses a child
// of this process one.
func space(t *testing.T) *netns.NS {
	t.Helper()
	probetest.Namespaces(t)
	name := fmt.Sprintf("rtnltest%d.%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	t.Cleanup(func() {
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
	})
	if err := netns.Create(name); err != nil {
		t.Fatal(err)
	}
	ns, err := netns.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func dial(t *testing.T, ns *netns.NS) *rtnl.Conn {
	t.Helper()
	conn, err := rtnl.DialIn(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// More requests than fit into a batch, one of them wrong: it is named, with the
// kernel's reason, and those before it were carried out.
func TestApplyNamesFailure(t *testing.T) {
	ns := space(t)
	conn := dial(t, ns)
	var reqs []rtnl.Request
	for i := range 300 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i%250 + 1)}), 32)
		reqs = append(reqs, rtnl.AddAddress("lo", 1, p))
	}
	reqs[200] = rtnl.AddAddress("lo", 1, netip.MustParsePrefix("10.0.0.8/32"))
	err := conn.Apply(t.Context(), reqs...)
	if !errors.Is(err, unix.EEXIST) || !strings.HasPrefix(err.Error(), "add address 10.0.0.8/32 to lo: file exists") {
		t.Errorf("got %v", err)
	}
	err = rtnl.Read(ns, func(h *netlink.Handle) error {
		addrs, err := rtnl.Retry(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_V4) })
		if len(addrs) < 200 {
			t.Errorf("%d addresses", len(addrs))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// The connection still works, and gives the kernel's explanation.
	err = conn.Apply(t.Context(), rtnl.NewBridge(rtnl.End{Name: "lo", Index: 20}))
	if !errors.Is(err, unix.EEXIST) {
		t.Errorf("got %v, want EEXIST", err)
	}
	route, err := rtnl.AddRoute(rtnl.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	if err = conn.Apply(t.Context(), route); err == nil || !strings.Contains(err.Error(), "Nexthop has invalid gateway") {
		t.Errorf("got %v, want the kernel's explanation", err)
	}
}

// A bridge with a port of which the other end is in another namespace.
func TestVeth(t *testing.T) {
	here, there := space(t), otherSpace(t)
	conn := dial(t, here)
	mac := []byte{2, 0, 0, 0, 0, 9}
	err := conn.Apply(t.Context(),
		rtnl.NewBridge(rtnl.End{Name: "br", Index: 20, Up: true}),
		rtnl.NewVeth(
			rtnl.End{Name: "port", Index: 21, Master: 20, MTU: 1400, Up: true},
			rtnl.End{Name: "eth.0", Index: 22, MAC: mac, MTU: 1400}, there.FD()),
		rtnl.SetLink(rtnl.End{Name: "port", Index: 21, Alias: "to there"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := dial(t, there).Apply(t.Context(), rtnl.SetLink(rtnl.End{Name: "eth.0", Index: 22, Up: true})); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := rtnl.WaitOperational(ctx, here, "port"); err != nil {
		t.Fatal(err)
	}
	links, err := rtnl.Links(here)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		a := l.Attrs()
		if a.Name == "port" && (a.MasterIndex != 20 || a.MTU != 1400 || a.Alias != "to there" || a.NumTxQueues != 1) {
			t.Errorf("port is %+v", a)
		}
	}
	err = there.Do(func() error {
		control, err := rtnl.OpenControl()
		if err != nil {
			return err
		}
		defer control.Close()
		if index, err := control.Index("eth.0"); err != nil || index != 22 {
			t.Errorf("index %d, %v", index, err)
		}
		if mtu, err := control.MTU("eth.0"); err != nil || mtu != 1400 {
			t.Errorf("MTU %d, %v", mtu, err)
		}
		if _, err := control.Index("eth1"); err == nil {
			t.Error("found eth1")
		}
		return control.NoTxChecksum("eth.0")
	})
	if err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := rtnl.WaitOperational(short, here, "nonesuch"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("got %v", err)
	}
}

func otherSpace(t *testing.T) *netns.NS {
	t.Helper()
	name := fmt.Sprintf("rtnltest%d.other", os.Getpid())
	t.Cleanup(func() {
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
	})
	if err := netns.Create(name); err != nil {
		t.Fatal(err)
	}
	ns, err := netns.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func TestSettings(t *testing.T) {
	ns := space(t)
	private := rtnl.NewSettings()
	defer private.Close()
	for name, settings := range map[string]*rtnl.Settings{"proc": {}, "private": private} {
		for key, test := range map[string]struct {
			value string
			want  error
		}{
			"net.ipv4.ip_forward":              {"1", nil},
			"net.ipv4.conf.lo.rp_filter":       {"0", nil},
			"net.ipv4.ip_local_port_range":     {"20000 \t30000", nil},
			"net.ipv4.tcp_fin_timeout":         {"60", nil},
			"net.ipv4.conf.nonesuch.rp_filter": {"1", rtnl.ErrNoSysctl},
			"net.nonesuch.x":                   {"1", rtnl.ErrNoSysctl},
			"kernel.hostname":                  {"x", rtnl.ErrNotNamespaced},
			"net":                              {"1", rtnl.ErrNotNamespaced},
			"net.ipv4/../../kernel.hostname":   {"x", rtnl.ErrNotNamespaced},
			"net.ipv4.ip_default_ttl":          {"0", unix.EINVAL},
		} {
			err := ns.Do(func() error { return settings.Set(rtnl.Sysctl{Key: key, Value: test.value}) })
			if !errors.Is(err, test.want) {
				t.Errorf("%s: %s: got %v, want %v", name, key, err, test.want)
			}
			if errors.Is(test.want, rtnl.ErrNoSysctl) {
				if err := ns.Do(func() error { return settings.Set(rtnl.Sysctl{Key: key, Value: "1", Optional: true}) }); err != nil {
					t.Errorf("%s: optional %s: %v", name, key, err)
				}
			}
		}
		got := ""
		err := ns.Do(func() (err error) { got, err = rtnl.ReadSysctl("net.ipv4.ip_local_port_range"); return err })
		if err != nil || got != "20000 30000" {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
	}
	// The kernel reads octal numbers, and says what it has understood.
	err := ns.Do(func() error {
		return (&rtnl.Settings{}).Set(rtnl.Sysctl{Key: "net.ipv4.tcp_retries2", Value: "010"})
	})
	var d *rtnl.Difference
	if !errors.As(err, &d) || d.Wanted != "010" || d.Got != "8" {
		t.Errorf("got %v, want a difference", err)
	}
}

// An interrupted dump is repeated, another failure is not, and not for ever.
func TestRetry(t *testing.T) {
	for name, test := range map[string]struct {
		fail  []error
		want  error
		calls int
	}{
		"first time":  {nil, nil, 1},
		"third time":  {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted}, nil, 3},
		"other error": {[]error{unix.EPERM}, unix.EPERM, 1},
	} {
		calls := 0
		_, err := rtnl.Retry(func() (int, error) {
			calls++
			if calls <= len(test.fail) {
				return 0, test.fail[calls-1]
			}
			return 7, nil
		})
		if !errors.Is(err, test.want) || calls != test.calls {
			t.Errorf("%s: %v after %d calls", name, err, calls)
		}
	}
	if _, err := rtnl.Retry(func() (int, error) { return 0, netlink.ErrDumpInterrupted }); !errors.Is(err, netlink.ErrDumpInterrupted) {
		t.Errorf("for ever: %v", err)
	}
}
