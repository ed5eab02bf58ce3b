package rtnl_test

import (
	"errors"
	"testing"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"golang.org/x/sys/unix"
)

// What one message tells of an interface is what was written to /proc, setting
// by setting; and a new interface is a copy of the defaults.
func TestReadConf(t *testing.T) {
	ns := space(t)
	conn := dial(t, ns)
	if _, err := conn.ReadConf("none", 99); !errors.Is(err, unix.ENODEV) {
		t.Errorf("interface that isn't there: %v", err)
	}
	bridge := rtnl.End{Name: "new.1", Index: 20}
	if err := conn.Apply(t.Context(), rtnl.NewBridge(bridge)); err != nil {
		t.Fatal(err)
	}
	fresh, err := conn.ReadConf(bridge.Name, bridge.Index)
	if err != nil {
		t.Fatal(err)
	}
	if len(fresh) < 15 {
		t.Fatalf("told only %v", fresh)
	}
	err = ns.Do(func() error {
		for key, got := range fresh {
			if want, err := rtnl.ReadSysctl("net.ipv4.conf.default." + key); err != nil || got != want {
				t.Errorf("new interface: %s = %q; default %q, %v", key, got, want, err)
			}
		}
		for key, was := range fresh {
			flip(t, conn, key, was)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// flip changes one setting of the interface from 0 to 1 or back, and looks what is told.
func flip(t *testing.T, conn *rtnl.Conn, key, was string) {
	t.Helper()
	s := rtnl.Sysctl{Key: "net.ipv4.conf.new/1." + key, Value: "1"}
	if was == s.Value {
		s.Value = "0"
	}
	if err := (&rtnl.Settings{}).Set(s); err != nil {
		t.Error(err)
	}
	conf, err := conn.ReadConf("new.1", 20)
	if err != nil {
		t.Error(err)
	}
	if !conf.Says(key, s) {
		t.Errorf("%s is %s: told %q", s.Key, s.Value, conf[key])
	}
}
