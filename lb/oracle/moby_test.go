package oracle_test

import (
	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lb"
)

// control writes one service's table.
type control struct {
	handle  *ipvs.Handle
	service *ipvs.Service
}

func openControl(path string, s lb.Service) (*control, error) {
	h, err := ipvs.New(path)
	if err != nil {
		return nil, err
	}
	svc := mobyService(s)
	return &control{h, svc}, h.NewService(svc)
}

func mobyService(s lb.Service) *ipvs.Service {
	m := &ipvs.Service{
		Address: s.Addr.AsSlice(), Port: s.Port, Protocol: uint16(s.Protocol),
		SchedName: s.Scheduler, Flags: uint32(s.Flags), Timeout: uint32(s.Timeout.Seconds()),
		AddressFamily: unix.AF_INET, Netmask: 0xffffffff,
	}
	if s.Family == lb.IPv6 {
		m.AddressFamily, m.Netmask = unix.AF_INET6, 128
	}
	if s.MaskBits != 0 && s.Family == lb.IPv4 {
		// In network byte order.
		mask := ^uint32(0) << (32 - s.MaskBits)
		m.Netmask = mask<<24 | mask<<8&0xff0000 | mask>>8&0xff00 | mask>>24
	} else if s.MaskBits != 0 {
		m.Netmask = uint32(s.MaskBits)
	}
	if s.Timeout > 0 {
		m.Flags |= 1
	}
	return m
}

func (c *control) dest(d lb.Destination) *ipvs.Destination {
	return &ipvs.Destination{
		Address: d.Addr.AsSlice(), Port: d.Port, Weight: int(d.Weight),
		UpperThreshold: d.Upper, LowerThreshold: d.Lower, AddressFamily: c.service.AddressFamily,
	}
}

func (c *control) edit(s lb.Service) error {
	c.service = mobyService(s)
	return c.handle.UpdateService(c.service)
}
func (c *control) addDest(d lb.Destination) error {
	return c.handle.NewDestination(c.service, c.dest(d))
}
func (c *control) editDest(d lb.Destination) error {
	return c.handle.UpdateDestination(c.service, c.dest(d))
}
func (c *control) removeDest(k lb.DestKey) error {
	return c.handle.DelDestination(c.service, c.dest(lb.Destination{DestKey: k}))
}

// counts are active and inactive connections, newest destination first.
func (c *control) counts() ([][2]int, error) {
	list, err := c.handle.GetDestinations(c.service)
	var out [][2]int
	for _, d := range list {
		out = append(out, [2]int{d.ActiveConnections, d.InactiveConnections})
	}
	return out, err
}
func (c *control) close() error { c.handle.Close(); return nil }
