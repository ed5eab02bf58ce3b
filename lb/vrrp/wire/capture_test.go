package wire

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/lb/vrrp"
	"golang.org/x/sys/unix"
)

// capture keeps the frames that come out of a director's link, as the bridge
// sees them, until the test asks for them as a file in pcap's format.
func (n *network) capture(port string) (file func() string) {
	n.t.Helper()
	var fd int
	must(n.t, n.middle.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(htons(unix.ETH_P_ALL)))
		return err
	}))
	n.t.Cleanup(func() { unix.Close(fd) })
	links, err := findLinks(n.middle, []string{port})
	must(n.t, err)
	must(n.t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: links[port].index}))
	return func() string {
		var out bytes.Buffer
		head := []any{uint32(0xa1b2c3d4), uint16(2), uint16(4), uint32(0), uint32(0), uint32(65535), uint32(1)} // Ethernet
		for _, v := range head {
			must(n.t, binary.Write(&out, binary.NativeEndian, v))
		}
		buf := make([]byte, 4096)
		for {
			size, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
				continue // to the director, not from it
			}
			now := time.Now()
			for _, v := range []uint32{uint32(now.Unix()), uint32(now.Nanosecond() / 1000), uint32(size), uint32(size)} {
				must(n.t, binary.Write(&out, binary.NativeEndian, v))
			}
			out.Write(buf[:size])
		}
		path := filepath.Join(n.t.TempDir(), port+".pcap")
		must(n.t, os.WriteFile(path, out.Bytes(), 0o600))
		return path
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// TestWiresharkAgrees has a takeover's packets decoded by somebody else: each
// checksum is good, and there is nothing to remark on.
func TestWiresharkAgrees(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip(err) // a cross-check for where it is installed
	}
	n := newNetwork(t)
	file := n.capture("out0")
	first := n.speak(0, group(0, nil))
	n.holder(0, all)
	must(t, first.stop())
	path := file()
	fields := func(filter string, names ...string) []string {
		args := []string{"-r", path, "-Y", filter, "-o", "ip.check_checksum:TRUE", "-T", "fields"}
		for _, name := range names {
			args = append(args, "-e", name)
		}
		out, err := exec.Command(tshark, args...).Output()
		must(t, err)
		return strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	}
	check := func(filter, want string, least int, names ...string) {
		t.Helper()
		rows := fields(filter, names...)
		if len(rows) < least {
			t.Errorf("%s: %d packets, want %d or more", filter, len(rows), least)
		}
		for _, row := range rows {
			if row != want {
				t.Errorf("%s: %v are %q, want %q", filter, names, row, want)
				return
			}
		}
	}
	const expert = "_ws.expert.message"
	check("vrrp && ip && vrrp.prio > 0", "3\t51\t150\t5\t1\t1\t255\t10.0.0.1\t224.0.0.18\t01:00:5e:00:00:12\t", 1,
		"vrrp.version", "vrrp.virt_rtr_id", "vrrp.prio", "vrrp.short_adver_int", "vrrp.checksum.status", "ip.checksum.status", "ip.ttl", "ip.src", "ip.dst", "eth.dst", expert)
	check("vrrp && ipv6", "3\t51\t1\t255\tff02::12\t33:33:00:00:00:12\t", 2, "vrrp.version", "vrrp.virt_rtr_id", "vrrp.checksum.status", "ipv6.hlim", "ipv6.dst", "eth.dst", expert)
	check("arp.isgratuitous && arp.src.proto_ipv4 == 10.0.0.100", "1\tff:ff:ff:ff:ff:ff\t10.0.0.100\t", vrrp.Repeat, "arp.opcode", "eth.dst", "arp.dst.proto_ipv4", expert)
	check("icmpv6.type == 136 && icmpv6.nd.na.target_address == fd00:1::100", "1\t255\tff02::1\t1\t0\t1\t", vrrp.Repeat,
		"icmpv6.checksum.status", "ipv6.hlim", "ipv6.dst", "icmpv6.nd.na.flag.r", "icmpv6.nd.na.flag.s", "icmpv6.nd.na.flag.o", expert)
	if rows := fields("vrrp.prio == 0", "vrrp.prio"); len(rows) != 2 {
		t.Errorf("%d resignations, want one for each family", len(rows))
	}
}
