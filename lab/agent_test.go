package lab_test

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"golang.org/x/sys/unix"
)

// The two agents do the same, also for a lab that was loaded.
func TestResponders(t *testing.T) {
	probetest.Namespaces(t)
	for name, mode := range map[string]lab.AgentMode{"in process": lab.InProcess, "detached": lab.Detached} {
		t.Run(name, func(t *testing.T) {
			dir := stateRoot(t)
			before := sockets(t)
			l := up(t, plan(t, "nat.yaml", labName("agent")), lab.Options{Agent: mode, NoServices: true})
			run(t, l, "client", "curl -sS --max-time 0.9 http://rs1/ && curl -sS --max-time 0.9 http://rs2/ && curl -sS --max-time 0.9 http://rs2/")
			l, err := lab.Load(l.Name())
			if err != nil {
				t.Fatal(err)
			}
			counts, err := l.Responders(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			accepted := map[string]uint64{}
			for _, c := range counts {
				accepted[c.Node] += c.Accepted
			}
			if accepted["rs1"] != 1 || accepted["rs2"] != 2 {
				t.Errorf("accepted %v", accepted)
			}
			log, err := l.Accepted(t.Context(), 0)
			if err != nil || len(log.Entries) != 3 || log.Entries[0].Node != "rs1" || log.Entries[0].Remote.Addr().String() != "10.9.0.2" {
				t.Errorf("log %+v, %v", log, err)
			}
			if err := l.StopResponder(t.Context(), "rs1", "", 80); err != nil {
				t.Fatal(err)
			}
			if out, status := try(t, l, "client", "curl -sS --max-time 0.9 http://rs1/"); status != 7 { // couldn't connect
				t.Errorf("stopped: status %d, %s", status, out)
			}
			if err := l.StartResponder(t.Context(), "rs1", "", 80); err != nil {
				t.Fatal(err)
			}
			run(t, l, "client", "curl -sS --max-time 0.9 http://rs1/")
			if err := l.StopResponder(t.Context(), "rs1", "", 81); err == nil {
				t.Error("stopped a responder that isn't there")
			}
			// Ended by name: the sockets, which keep namespaces alive, must be closed.
			if _, err := lab.Down(t.Context(), l.Name()); err != nil {
				t.Fatal(err)
			}
			if open := sockets(t); open > before {
				t.Errorf("%d sockets are open, %d were before", open, before)
			}
			nothingLeft(t, dir, l.Name())
		})
	}
}

// sockets counts the listening sockets that this process holds.
func sockets(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		fd, err := strconv.Atoi(filepath.Base(f))
		if err != nil {
			t.Fatal(err)
		}
		domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN) // 0 for what is no socket
		listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if listens != 0 && (domain == unix.AF_INET || domain == unix.AF_INET6) {
			n++
		}
	}
	return n
}
