package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lab/internal/vethpair"
)

// send sends n UDP datagrams from the client to the server, where nobody listens.
func send(t *testing.T, p vethpair.Pair, n int) {
	t.Helper()
	err := p.Client(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrInet4{Port: 9, Addr: vethpair.ServerV4.As4()}
		for i := range n {
			if err := unix.Sendto(fd, []byte(fmt.Sprintf("datagram %d", i)), 0, to); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("send %d datagrams: %v", n, err)
	}
}

func isUDP(p Packet) bool { return p.Protocol == ProtoUDP && p.DstPort == 9 }

func bothEnds(t *testing.T, p vethpair.Pair) Set {
	t.Helper()
	set, err := StartAll(t.Context(),
		Point{p.Client, Options{Node: "client", Interface: "eth0"}},
		Point{p.Server, Options{Node: "server", Interface: "eth0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Stop() })
	return set
}

func TestCaptureSeesBothDirectionsAtBothEnds(t *testing.T) {
	p := vethpair.New(t)
	set := bothEnds(t, p)
	send(t, p, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// The server refuses with an ICMP error, which crosses both interfaces too.
	refusal, err := set.At("client", "eth0").WaitFor(ctx, func(p Packet) bool { return p.Protocol == ProtoICMP })
	if err != nil {
		t.Fatal(err)
	}
	if refusal.Direction != In || refusal.ICMPType != 3 || refusal.ICMPCode != 3 ||
		refusal.Quoted.Destination() != netip.AddrPortFrom(vethpair.ServerV4, 9) {
		t.Errorf("unexpected refusal: %+v", refusal)
	}
	if err := set.Stop(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range set.Find(func(p Packet) bool { return p.Protocol == ProtoUDP || p.Protocol == ProtoICMP }) {
		got = append(got, fmt.Sprintf("%s %s %s>%s", p.Node, p.Direction, p.Src, p.Dst))
	}
	want := "client out 10.9.0.1>10.9.0.2, server in 10.9.0.1>10.9.0.2, server out 10.9.0.2>10.9.0.1, client in 10.9.0.2>10.9.0.1"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("packets\n got %s\nwant %s", s, want)
	}
}

func TestStopReturnsEverythingSeenBefore(t *testing.T) {
	p := vethpair.New(t)
	for range 20 {
		c, err := Start(t.Context(), p.Client, Options{Interface: "eth0"})
		if err != nil {
			t.Fatal(err)
		}
		send(t, p, 200)
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		if got := len(c.Find(func(p Packet) bool { return isUDP(p) && p.Direction == Out })); got != 200 {
			t.Fatalf("%d of 200 datagrams captured", got)
		}
		if err := c.Stop(); err != nil {
			t.Errorf("stop again: %v", err)
		}
	}
}

func TestLossIsSaid(t *testing.T) {
	p := vethpair.New(t)
	c, err := Start(t.Context(), p.Client, Options{Interface: "eth0", Limit: 3, Keep: isUDP})
	if err != nil {
		t.Fatal(err)
	}
	send(t, p, 5)
	if err := c.Stop(); !errors.Is(err, ErrLost) || c.Stats().Over != 2 || len(c.Frames()) != 3 {
		t.Errorf("got %v, stats %+v, %d frames; want ErrLost with 2 over the limit", err, c.Stats(), len(c.Frames()))
	}

	small, err := Start(t.Context(), p.Client, Options{Interface: "eth0", Buffer: 1})
	if err != nil {
		t.Fatal(err)
	}
	small.mu.Lock() // nobody reads
	send(t, p, 500)
	small.mu.Unlock()
	if err := small.Stop(); !errors.Is(err, ErrLost) || small.Stats().Dropped == 0 {
		t.Errorf("got %v, stats %+v; want ErrLost with drops", err, small.Stats())
	}
}

func TestSnapLenAndFilter(t *testing.T) {
	p := vethpair.New(t)
	c, err := Start(t.Context(), p.Client, Options{Interface: "eth0", SnapLen: 34, BPF: nothing})
	if err != nil {
		t.Fatal(err)
	}
	send(t, p, 3)
	if err := c.Stop(); err != nil || len(c.Frames()) != 0 {
		t.Errorf("a filter that refuses all let %d frames through (%v)", len(c.Frames()), err)
	}
	c, err = Start(t.Context(), p.Client, Options{Interface: "eth0", SnapLen: 34, Keep: func(p Packet) bool { return p.Protocol == ProtoUDP }})
	if err != nil {
		t.Fatal(err)
	}
	send(t, p, 1)
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	f := c.Frames()
	if len(f) != 1 || len(f[0].Data) != 34 || f[0].Length != 14+20+8+len("datagram 0") {
		t.Errorf("frames %+v, want one of 34 bytes", f)
	}
}

func TestNoSuchInterface(t *testing.T) {
	p := vethpair.New(t)
	_, err := Start(t.Context(), p.Client, Options{Node: "client", Interface: "eth7"})
	if err == nil || !strings.Contains(err.Error(), "capture on client:eth7") {
		t.Errorf("error %v doesn't name the place", err)
	}
	if _, err := net.InterfaceByName("eth7"); err == nil {
		t.Error("the test is wrong: there is an eth7")
	}
}

func TestContextEndsCapture(t *testing.T) {
	p := vethpair.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Start(ctx, p.Client, Options{Interface: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	send(t, p, 1)
	cancel()
	// Refused because of the capture's end, not of a deadline of its own.
	if _, err := c.WaitFor(context.Background(), func(Packet) bool { return false }); err == nil {
		t.Error("waited for nothing, and got it")
	}
	if len(c.Find(isUDP)) != 1 {
		t.Error("the packet before the end is missing")
	}
}

func TestPcapngIsReadByTshark(t *testing.T) {
	p := vethpair.New(t)
	var live bytes.Buffer
	w := NewWriter(&live)
	set, err := StartAll(t.Context(),
		Point{p.Client, Options{Node: "client", Interface: "eth0", Live: w}},
		Point{p.Server, Options{Node: "server", Interface: "eth0", Live: w}})
	if err != nil {
		t.Fatal(err)
	}
	send(t, p, 3)
	if err := set.Stop(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	merged, streamed := filepath.Join(dir, "merged.pcapng"), filepath.Join(dir, "live.pcapng")
	if err := set.WriteFile(merged); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(streamed, live.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	for _, file := range []string{merged, streamed} {
		out, err := exec.Command(tshark, "-r", file, "-Y", "udp.dstport == 9 && !icmp", "-T", "fields",
			"-e", "frame.interface_name", "-e", "ip.src", "-e", "ip.dst", "-e", "frame.packet_flags_direction").CombinedOutput()
		if err != nil {
			t.Fatalf("tshark: %v\n%s", err, out)
		}
		for _, line := range []string{
			"client:eth0\t10.9.0.1\t10.9.0.2\t0x00000002", "server:eth0\t10.9.0.1\t10.9.0.2\t0x00000001",
		} {
			if n := strings.Count(string(out), line); n != 3 {
				t.Errorf("%s: %d lines %q, want 3, in:\n%s", filepath.Base(file), n, line, out)
			}
		}
	}
}
