package rtnl

import "testing"

// Some settings of IPVS's are changed by the kernel itself.
func TestAgrees(t *testing.T) {
	for _, c := range []struct {
		key, want, got string
		agrees         bool
	}{
		{"net.ipv4.ip_local_port_range", "32768 60999", "32768\t60999", true},
		{"net.ipv4.vs.drop_packet", "1", "2", true},
		{"net.ipv4.vs.secure_tcp", "2", "1", true},
		{"net.ipv4.vs.drop_entry", "1", "3", false},
		{"net.ipv4.vs.drop_entry", "0", "1", false},
		{"net.ipv4.vs.conn_reuse_mode", "1", "2", false},
	} {
		if got := (Sysctl{Key: c.key, Value: c.want}).Agrees(c.got); got != c.agrees {
			t.Errorf("%s wanted %q reads %q: agrees is %t", c.key, c.want, c.got, got)
		}
	}
}
