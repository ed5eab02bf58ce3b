package traffic

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// residentKiB reads the process's resident memory.
func residentKiB(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(data)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatal("no VmRSS in /proc/self/status")
	return 0
}

func TestThousandIdleNodesAreCheap(t *testing.T) {
	// Every address of 127.0.0.0/8 is this machine's: each stands for a node.
	const nodes, limitKiB = 1000, 100
	before := residentKiB(t)
	h := NewHost(HostOptions{})
	t.Cleanup(func() { must(t, h.Close()) })
	for i := range nodes {
		addr := []netip.Addr{netip.AddrFrom4([4]byte{127, 77, byte(i >> 8), byte(i)})}
		for _, s := range allResponders(fmt.Sprintf("rs%d", i)) {
			s.Addrs, s.Port = addr, s.Port+20000
			_, err := h.Start(nil, s)
			must(t, err)
		}
	}
	perNode := (residentKiB(t) - before) / nodes
	t.Logf("%d KiB and %d goroutines per node", perNode, runtime.NumGoroutine()/nodes)
	if perNode > limitKiB {
		t.Errorf("%d KiB resident per idle node, want at most %d", perNode, limitKiB)
	}
}
