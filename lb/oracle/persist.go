package oracle

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/ipvslab/ipvslab/lb"
)

// ErrInUse: the template still has connections, and lives on for 60 s more.
var ErrInUse = errors.New("in use")

// ftpPort is FTPPORT: its service's templates hold for every port.
const ftpPort = 21

// template is the key of a persistence template (ip_vs_core.c,
// ip_vs_sched_persist): the first address of the client's network, whatever its
// mask, and the virtual address with its port, or without for FTP and services
// of all ports, or the mark.
type template struct {
	protocol lb.Protocol
	client   netip.Addr
	virtual  netip.AddrPort
	mark     uint32
}

func (m *Model) template(c Conn) template {
	bits := int(m.service.MaskBits)
	client := c.Client.Addr().Unmap()
	if bits == 0 || bits > client.BitLen() {
		bits = client.BitLen()
	}
	network, _ := client.Prefix(bits) // bits is within range
	t := template{protocol: c.Protocol, client: network.Addr()}
	port := uint16(0)
	if c.Virtual.Port() == m.service.Port && m.service.Port != ftpPort {
		port = m.service.Port
	}
	t.virtual = netip.AddrPortFrom(c.Virtual.Addr().Unmap(), port)
	if m.service.FWMark != 0 && c.Virtual.Port() != m.service.Port {
		t.protocol, t.virtual, t.mark = 0, netip.AddrPort{}, m.service.FWMark
	}
	return t
}

// choose is the choice of ip_vs_schedule and ip_vs_sched_persist: a template's
// destination, be it quiesced or overloaded, else the scheduler's.
func (m *Model) choose(c Conn) (*dest, *entry) {
	if m.scheduler == nil {
		return nil, nil // the service is removed
	}
	if m.service.Timeout <= 0 {
		return m.scheduler.pick(&m.table, c), nil
	}
	key := m.template(c)
	if t := m.templates[key]; t != nil {
		if m.valid(t) {
			return t.dest, t
		}
		delete(m.templates, key)
	}
	d := m.scheduler.pick(&m.table, c)
	if d == nil {
		return nil, nil
	}
	d.bind(true, m.table.variant.Overload)
	t := &entry{dest: d}
	m.templates[key] = t
	return d, t
}

// valid is ip_vs_check_template (ip_vs_conn.c). A template that fails is
// unhashed, but goes on counting as persistent until its timer runs out, which
// the model does not follow: Persistent is then too high.
func (m *Model) valid(t *entry) bool {
	quiesced := m.table.variant.Settings.ExpireQuiescentTemplate && t.dest.weight == 0
	return t.dest.available && !quiesced
}

// ExpireTemplate says that the template which serves c's client has run out.
// The error is ErrNotFound, or ErrInUse while connections refer to it.
func (m *Model) ExpireTemplate(c Conn) error {
	key := m.template(m.Complete(c))
	t := m.templates[key]
	switch {
	case t == nil:
		return fmt.Errorf("expire template of %v: %w", key.client, ErrNotFound)
	case t.used > 0:
		return fmt.Errorf("expire template of %v: %w by %d connections", key.client, ErrInUse, t.used)
	}
	delete(m.templates, key)
	t.dest.unbind(true, m.table.variant.Overload)
	return nil
}
