package wire

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
)

// These tests wait for others most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// keepalivedConf writes the same group in keepalived's words.
func keepalivedConf(g Group) string {
	var b strings.Builder
	b.WriteString("global_defs {\n}\nvrrp_sync_group main {\n  group {\n")
	for _, r := range g.Routers {
		fmt.Fprintf(&b, "    %s\n", r.Network)
	}
	b.WriteString("  }\n}\n")
	for _, r := range g.Routers {
		state := "BACKUP"
		if g.StartActive {
			state = "MASTER"
		}
		fmt.Fprintf(&b, "vrrp_instance %s {\n  state %s\n  version %d\n  interface %s\n  virtual_router_id %d\n  priority %d\n  advert_int %g\n",
			r.Network, state, g.Version, r.Interface, r.ID, g.Priority, g.Interval.Seconds())
		if len(r.Peers) > 0 {
			fmt.Fprintf(&b, "  unicast_src_ip %s\n  unicast_peer {\n    %s\n  }\n", r.Addr, r.Peers[0])
		}
		if g.Password != "" {
			fmt.Fprintf(&b, "  authentication {\n    auth_type PASS\n    auth_pass %s\n  }\n", g.Password)
		}
		b.WriteString("  virtual_ipaddress {\n")
		for _, a := range r.Addresses {
			fmt.Fprintf(&b, "    %s dev %s\n", single(a), r.Interface)
		}
		b.WriteString("  }\n}\n")
	}
	return b.String()
}

// buffer is a log that is written and read at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// awaitAll waits until each of the directors has all addresses.
func (n *network) awaitAll(addresses int) {
	n.t.Helper()
	n.eventually(30*time.Second, func() error {
		if len(n.floating(0)) != addresses || len(n.floating(1)) != addresses {
			return errNotYet
		}
		return nil
	})
}

// complaints are keepalived's words for packets that it does not like.
var complaints = regexp.MustCompile(`(?i)invalid|checksum|bogus|mismatch|wrong|not match|malformed|unknown|error`)

// keepalived runs it as director i until stop. Its configuration may be edited:
// old and new texts in turn.
func (n *network) keepalived(program string, i int, g Group, edits ...string) (stop func() error, log *buffer) {
	n.t.Helper()
	dir := n.t.TempDir()
	conf := filepath.Join(dir, "keepalived.conf")
	must(n.t, os.WriteFile(conf, []byte(strings.NewReplacer(edits...).Replace(keepalivedConf(g))), 0o600))
	log = &buffer{}
	cmd := exec.Command(program, "-n", "-l", "-D", "-P", "-f", conf, "-p", filepath.Join(dir, "pid"), "-r", filepath.Join(dir, "vrrp.pid"))
	cmd.Stdout, cmd.Stderr = log, log
	must(n.t, n.nodes[i].Start(cmd))
	stop = sync.OnceValue(func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		return cmd.Wait()
	})
	n.t.Cleanup(func() {
		_ = stop()
		if n.t.Failed() {
			n.t.Logf("keepalived's log:\n%s", log)
		}
	})
	return stop, log
}

// TestKeepalived has keepalived on one side and us on the other, each as the
// preferred one: it gets the addresses, gives them up when it stops, and gets
// them back when it returns.
func TestKeepalived(t *testing.T) {
	program := probetest.Keepalived(t)
	probetest.Namespaces(t)
	for _, c := range []struct {
		name     string
		version  uint8
		unicast  bool
		password string
		long     bool
	}{
		{"v3", 3, false, "", false},
		{"v3 unicast", 3, true, "", true},
		{"v2", 2, false, "", true}, // in whole seconds
		{"v2 unicast", 2, true, "", true},
		{"v2 with a password", 2, false, "1111", true},
		{"v2 unicast with a password", 2, true, "K*pt=12~", true},
	} {
		for _, preferred := range []string{"we", "keepalived"} {
			t.Run(c.name+", preferred: "+preferred, func(t *testing.T) {
				if c.long && testing.Short() {
					t.Skip("the short form has version 3 and multicast only")
				}
				t.Parallel()
				change := func(i int) func(*Group) {
					return func(g *Group) {
						for k, name := range []string{"out", "six", "in"} {
							if c.unicast {
								g.Routers[k].Peers = []netip.Addr{own(name, 1-i)}
							}
						}
						g.Interval = 100 * time.Millisecond
						if g.Version = c.version; c.version == 2 {
							g.Interval, g.Routers = time.Second, []Router{g.Routers[0], g.Routers[2]}
							g.StartActive = i == 0 // its timers are whole seconds
							g.Password = c.password
						}
					}
				}
				interop(t, program, preferred == "we", change)
			})
		}
	}
}

// interop lets director 0, the preferred one, be us or keepalived.
func interop(t *testing.T, program string, wePreferred bool, change func(int) func(*Group)) {
	n := newNetwork(t)
	floating := 0
	for _, r := range group(0, change(0)).Routers {
		floating += len(r.Addresses)
	}
	var ours *speaker
	var logs []*buffer
	begin := func(i int) (stop func() error) {
		g := group(i, change(i))
		if (i == 0) == wePreferred {
			ours = n.speak(i, g)
			return ours.stop
		}
		stop, log := n.keepalived(program, i, g)
		logs = append(logs, log)
		return stop
	}
	stop := begin(0)
	begin(1)
	n.holder(0, floating)
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	n.holder(1, floating)
	begin(0)
	n.holder(0, floating)
	for _, log := range logs {
		if bad := complaints.FindString(log.String()); bad != "" {
			t.Errorf("keepalived complains (%s):\n%s", bad, log)
		}
	}
	for _, r := range ours.Status()[0].Routers {
		silent := r.Received == 0 && !group(0, change(0)).StartActive // who does not wait need not hear anything
		if silent || r.Discarded > 0 {
			t.Errorf("%s: %d advertisements received, %d discarded", r.Network, r.Received, r.Discarded)
		}
	}
	if said := ours.said(); strings.Contains(said, "VRRP packet") {
		t.Errorf("we complain:\n%s", said)
	}
}
