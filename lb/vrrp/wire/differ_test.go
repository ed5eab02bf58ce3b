package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
)

// TestAuthenticationDiffers: keepalived and we throw each other's advertisements
// away if the passwords differ, and say so; both have the addresses then.
func TestAuthenticationDiffers(t *testing.T) {
	if testing.Short() {
		t.Skip("version 2 counts in whole seconds")
	}
	program := probetest.Keepalived(t)
	probetest.Namespaces(t)
	for _, c := range []struct {
		name, ours, theirs string
		says, theySay      string
	}{
		{"another password", "secret", "Secret", "10.0.0.2, authentication PASS: version 2's authentication is not as configured: wrong password", "received an invalid passwd"},
		{"none here", "", "secret", "10.0.0.2, authentication PASS: version 2's authentication is not as configured: none is configured here", "received a 0 auth, expecting 1"},
		{"none there", "secret", "", "10.0.0.2, no authentication: version 2's authentication is not as configured: PASS is configured here", "received a 1 auth, expecting 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			old := func(password string) func(*Group) {
				return func(g *Group) {
					g.Version, g.Interval, g.Password, g.StartActive = 2, time.Second, password, true
					g.Routers = g.Routers[:1]
				}
			}
			_, log := n.keepalived(program, 1, group(1, old(c.theirs)))
			ours := n.speak(0, group(0, old(c.ours)))
			n.eventually(30*time.Second, func() error {
				if a, b := n.floating(0), n.floating(1); len(a) != 2 || len(b) != 2 || !strings.Contains(log.String(), c.theySay) || !strings.Contains(ours.said(), c.says) {
					return errNotYet
				}
				return nil
			})
			if said := ours.said(); strings.Count(said, c.says) != 1 || c.ours != "" && strings.Contains(said, c.ours) {
				t.Errorf("it is said more than once, or the password is:\n%s", said)
			}
			if st := ours.Status()[0].Routers[0]; st.Discarded == 0 || st.Received != 0 || st.Peer.IsValid() {
				t.Errorf("%+v", st)
			}
		})
	}
}
