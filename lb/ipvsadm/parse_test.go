package ipvsadm_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
)

var byValue = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func key(p lb.Protocol, s string) lb.Key {
	a := netip.MustParseAddrPort(s)
	return lb.AddrKey(p, a.Addr(), a.Port())
}

func dest(s string, f lb.Forward, weight int32) lb.Destination {
	a := netip.MustParseAddrPort(s)
	return lb.Destination{DestKey: lb.DestKey{Addr: a.Addr(), Port: a.Port()}, Forward: f, Weight: weight}
}

func TestParse(t *testing.T) {
	web := key(lb.TCP, "192.168.1.117:80")
	tests := []struct {
		line string
		want ipvsadm.Command
	}{
		{"-A -t 192.168.1.117:80", ipvsadm.Command{
			Verb: ipvsadm.AddService, Service: lb.Service{Key: web, Scheduler: "wlc"},
		}},
		{"-At192.168.1.117:80 -swrr -p", ipvsadm.Command{
			Verb: ipvsadm.AddService, Service: lb.Service{Key: web, Scheduler: "wrr", Timeout: 6 * time.Minute},
		}},
		{"--edit-service --tcp-service=192.168.1.117:80 -p 5 -M 255.255.0.0 -s sh -b sh-port", ipvsadm.Command{
			Verb: ipvsadm.EditService,
			Service: lb.Service{
				Key: web, Scheduler: "sh", Timeout: 5 * time.Second, MaskBits: 16, Flags: lb.Sched2,
			},
		}},
		{"-A -t 192.168.1.117:80 -p -M 24", ipvsadm.Command{
			Verb:    ipvsadm.AddService,
			Service: lb.Service{Key: web, Scheduler: "wlc", Timeout: 6 * time.Minute, OddMask: addr("0.0.0.24")},
		}},
		{"-A -u [2001:db8::1]:53 -o -p 9 -M 64", ipvsadm.Command{
			Verb: ipvsadm.AddService,
			Service: lb.Service{
				Key: key(lb.UDP, "[2001:db8::1]:53"), Scheduler: "wlc", Flags: lb.OnePacket, Timeout: 9 * time.Second, MaskBits: 64,
			},
		}},
		{"-A -f 7 -6", ipvsadm.Command{
			Verb: ipvsadm.AddService, Service: lb.Service{Key: lb.MarkKey(7, lb.IPv6), Scheduler: "wlc"},
		}},
		{"-a -t 192.168.1.117:80 -r 172.10.100.130:8080 -m -w 3 -x 9 -y 4", ipvsadm.Command{
			Verb: ipvsadm.AddDest, Service: lb.Service{Key: web},
			Dest: func() lb.Destination {
				d := dest("172.10.100.130:8080", lb.NAT, 3)
				d.Upper, d.Lower = 9, 4
				return d
			}(),
		}},
		{"-a -t 192.168.1.117:80 -r 172.10.100.130:8080", ipvsadm.Command{ // -g keeps the port
			Verb: ipvsadm.AddDest, Service: lb.Service{Key: web}, Dest: dest("172.10.100.130:80", lb.DR, 1),
		}},
		{"-a -t 192.168.1.117:80 -r [fd00::1]:80 -i --tun-type gue --tun-port 6080 --tun-csum", ipvsadm.Command{
			Verb: ipvsadm.AddDest, Service: lb.Service{Key: web},
			Dest: func() lb.Destination {
				d := dest("[fd00::1]:80", lb.TUN, 1)
				d.Tunnel = lb.Tunnel{Type: lb.GUE, Port: 6080, Flags: 1}
				return d
			}(),
		}},
	}
	for _, test := range tests {
		got, err := ipvsadm.Parse(strings.Fields("ipvsadm "+test.line), nil)
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		test.want.HasService = true
		if !strings.HasPrefix(test.line, "-a") {
			test.want.Dest = got.Dest // the defaults
		}
		if d := cmp.Diff(test.want, got, byValue); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.line, d)
		}
	}
}

// TestUsageErrors holds the messages that the differential test compares with
// the original's, for machines that have no IPVS.
func TestUsageErrors(t *testing.T) {
	const help = "Try `ipvsadm -h' or 'ipvsadm --help' for more information."
	tests := []struct {
		line    string
		status  int
		message string
	}{
		{"-t 1.2.3.4:80 -A", 255, help},
		{"--nonsense", 255, help},
		{"-L --nonsense", 255, "--nonsense: unknown option"},
		{"-Lnq", 255, "-Lnq: unknown option"},
		{"-L --numeric=1", 255, "--numeric=1: option does not take an argument"},
		{"-A -t", 255, "-t: missing argument"},
		{"-L -C", 2, "invalid option `-C'"},
		{"-L more", 2, "unexpected argument more"},
		{"-A -s rr", 2, "You need to supply the 'service-address' option for the 'add-service' command"},
		{"-D -t 1.2.3.4:80 -s rr", 2, "Illegal 'scheduler' option with the 'delete-service' command"},
		{"-L -c --timeout", 2, "The option 'timeout' conflicts with the 'connection' option in the 'list' command"},
		{"-L -n -n", 2, "multiple 'numeric' options specified"},
		{"-A -t 1.2.3.4", 2, "Zero port specified for non-persistent service"},
		{"-A -6", 2, "-6 used before -f\n"},
		{"-a -t 1.2.3.4:80 -r ::1", 2, "Different address family is allowed only for tunneling servers"},
		{"-a -t 1.2.3.4:80 -r 10.0.0.1 -i --tun-type gue", 2, "You need to supply the 'tun-port' option for the 'gue' tunnel type"},
		{"--set 1 2", 2, "--set option requires 3 timeout values"},
		{"-A -t 1.2.3.4:80 -b ,", 2, "invalid scheduler flag `,'"},                          // the original crashes
		{"-A -t [::ffff:1.2.3.4]:80", 2, "illegal virtual server address[:port] specified"}, // the original takes it
	}
	for _, test := range tests {
		_, err := ipvsadm.Parse(strings.Fields("ipvsadm "+test.line), nil)
		var u *ipvsadm.UsageError
		if !errors.As(err, &u) {
			t.Errorf("%s: error %v, want a UsageError", test.line, err)
			continue
		}
		if u.Status != test.status || u.Message != test.message {
			t.Errorf("%s: %d %q, want %d %q", test.line, u.Status, u.Message, test.status, test.message)
		}
	}
}
