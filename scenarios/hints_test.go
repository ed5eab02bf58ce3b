package scenarios

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Of keepalived's log the reader is told why a real server is not in the table,
// and nothing of the others.
func TestFailures(t *testing.T) {
	const log = `Sun Nov 22 23:41:34 2026: Activating healthchecker for service [10.1.0.22]:tcp:80 for VS [10.0.0.100]:tcp:80
Sun Nov 22 23:41:35 2026: Error connecting server [10.1.0.22]:tcp:80.
Sun Nov 22 23:41:35 2026: HTTP_CHECK on service [10.1.0.22]:tcp:80 failed after 1 retries.
Sun Nov 22 23:41:35 2026: Removing service [10.1.0.22]:tcp:80 from VS [10.0.0.100]:tcp:80
Sun Nov 22 23:41:36 2026: Remote Web server [10.1.0.21]:tcp:80 succeed on service.
Sun Nov 22 23:41:36 2026: Removing service [10.1.0.221]:tcp:80 from VS [10.0.0.100]:tcp:80
`
	for addr, want := range map[string][]string{
		"10.1.0.22": {
			"HTTP_CHECK on service [10.1.0.22]:tcp:80 failed after 1 retries.",
			"Removing service [10.1.0.22]:tcp:80 from VS [10.0.0.100]:tcp:80",
		},
		"10.1.0.21": nil,
	} {
		if diff := cmp.Diff(want, failures(log, netip.MustParseAddr(addr))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", addr, diff)
		}
	}
}
