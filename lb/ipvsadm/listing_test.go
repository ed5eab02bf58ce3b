package ipvsadm_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with testdata/golden/name, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// bigTable has counters at every step of the scale, which no test can drive a
// kernel to.
func bigTable() []lb.Service {
	var services []lb.Service
	for i, n := range []uint64{
		99_999_999, 100_000_000, 999_999_999, 1_000_000_000, 99_999_999_999, 100_000_000_000,
		99_999_999_999_999, 100_000_000_000_000, 1<<64 - 1,
	} {
		d := dest("10.0.0.1:80", lb.NAT, 70000)
		d.Upper, d.Lower = 1<<32-1, 7
		d.Counters = lb.Counters{
			Active: 1, Inactive: 1<<32 - 1, Persistent: 3, Conns: n, InPkts: n, OutPkts: n, InBytes: n, OutBytes: n,
			CPS: n, InPPS: n, OutPPS: n, InBPS: n, OutBPS: n,
		}
		services = append(services, lb.Service{
			Key: lb.AddrKey(lb.TCP, addr("192.168.1.117"), uint16(80+i)), Scheduler: "rr",
			Counters: d.Counters, Destinations: []lb.Destination{d},
		})
	}
	tunnel := dest("172.16.0.1:80", lb.TUN, 1)
	tunnel.Tunnel = lb.Tunnel{Type: lb.GUE, Port: 65535, Flags: 2}
	services[0].Destinations = append(services[0].Destinations, dest("127.0.0.1:80", lb.Local, 0), tunnel, dest("[2001:db8::1]:80", lb.DR, 2))
	services[0].Timeout, services[0].MaskBits, services[0].Engine = time.Hour, 24, "sip"
	return services
}

func TestPrintTable(t *testing.T) {
	info := lb.Info{Version: 0x010201, ConnTableSize: 4096}
	for name, f := range map[string]ipvsadm.Format{
		"plain":      {},
		"stats":      {Stats: true},
		"rate":       {Rate: true},
		"exact":      {Stats: true, Exact: true},
		"thresholds": {Thresholds: true},
		"persistent": {PersistentConn: true},
		"tunnels":    {TunInfo: true},
		"nosort":     {NoSort: true},
		"rules":      {Rule: true},
	} {
		f.Numeric = true
		var out bytes.Buffer
		if err := ipvsadm.PrintTable(&out, info, bigTable(), f, nil); err != nil {
			t.Fatal(err)
		}
		golden(t, "table-"+name+".txt", out.Bytes())
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	hosts, services := filepath.Join(dir, "hosts"), filepath.Join(dir, "services")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(hosts, "# ours\n10.0.0.1 a-server-with-a-name-that-is-too-long.example one\n::1 six\n10.0.0.2 Two # it\nrubbish x\n")
	write(services, "http 80/tcp www\nhttp 80/udp\nbad x/tcp\n")
	names := &ipvsadm.Files{HostsPath: hosts, ServicesPath: services}
	cmd, err := ipvsadm.Parse([]string{"ipvsadm", "-a", "-t", "TWO:www", "-r", "one", "-m"}, names)
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Service.Key != key(lb.TCP, "10.0.0.2:80") || cmd.Dest.DestKey != dest("10.0.0.1:80", 0, 0).DestKey {
		t.Errorf("got %s, %s", cmd.Service.Key, cmd.Dest.DestKey)
	}
	if _, err := ipvsadm.Parse([]string{"ipvsadm", "-D", "-t", "six:80"}, names); err == nil {
		t.Error("the name of an IPv6 address was taken")
	}
	s := cmd.Service
	s.Scheduler = "rr"
	s.Destinations = []lb.Destination{cmd.Dest}
	var out bytes.Buffer
	if err := ipvsadm.PrintService(&out, s, ipvsadm.Format{}, names); err != nil {
		t.Fatal(err)
	}
	golden(t, "names.txt", out.Bytes())
	if err := names.Err(); err != nil {
		t.Error(err)
	}
	if err := (&ipvsadm.Files{HostsPath: dir, ServicesPath: filepath.Join(dir, "none")}).Err(); err == nil {
		t.Error("a directory was read as a hosts file")
	}
}
