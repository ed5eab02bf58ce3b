package rtnl

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Conf is an interface's IPv4 settings, net.ipv4.conf.NAME, by the last part of the key.
type Conf map[string]string

// confNames are the settings by their place in IFLA_INET_CONF: the numbers
// IPV4_DEVCONF_* (include/uapi/linux/ip.h) less one. The others aren't asked for.
var confNames = map[int]string{
	0: "forwarding", 3: "accept_redirects", 4: "secure_redirects", 5: "send_redirects", 7: "rp_filter",
	8: "accept_source_route", 10: "log_martians", 12: "arp_filter", 17: "arp_announce", 18: "arp_ignore",
	20: "arp_accept", 21: "arp_notify", 22: "accept_local", 23: "src_valid_mark", 25: "route_localnet",
}

const (
	afSpecConf = 1      // IFLA_INET_CONF (include/uapi/linux/if_link.h)
	skipStats  = 1 << 3 // RTEXT_FILTER_SKIP_STATS (include/uapi/linux/rtnetlink.h)
)

// ReadConf reads the IPv4 settings of the interface with that index in one
// message. It holds only what this kernel tells; an interface without IPv4 has none.
//
// An interface begins as a copy of net.ipv4.conf.default (net/ipv4/devinet.c:
// inetdev_init), so a new one's settings are the defaults.
func (c *Conn) ReadConf(name string, index int) (Conf, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	req.AddData(infomsg(End{Index: index}))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	reply, err := c.ask(req)
	if err != nil {
		return nil, fmt.Errorf("read settings of interface %s: %w", name, err)
	}
	conf := Conf{}
	values := attribute(attribute(attribute(reply[min(unix.SizeofIfInfomsg, len(reply)):], unix.IFLA_AF_SPEC), unix.AF_INET), afSpecConf)
	for at := 0; 4*at+4 <= len(values); at++ {
		if key, ok := confNames[at]; ok {
			conf[key] = strconv.Itoa(int(int32(nl.NativeEndian().Uint32(values[4*at:]))))
		}
	}
	return conf, nil
}

// Says tells whether the setting, whose key ends in that, is known to be as wanted.
func (f Conf) Says(key string, s Sysctl) bool {
	got, known := f[key]
	return known && s.Agrees(got)
}

// attribute finds an attribute among several (struct nlattr); nil if it isn't there.
func attribute(attrs []byte, kind uint16) []byte {
	const header = 4
	for len(attrs) >= header {
		length := int(nl.NativeEndian().Uint16(attrs))
		if length < header || length > len(attrs) {
			return nil
		}
		if nl.NativeEndian().Uint16(attrs[2:])&^unix.NLA_F_NESTED == kind {
			return attrs[header:length]
		}
		attrs = attrs[min((length+3)&^3, len(attrs)):]
	}
	return nil
}

// ask sends one question and returns the body of the one answer.
func (c *Conn) ask(req *nl.NetlinkRequest) ([]byte, error) {
	c.seq++
	req.Seq = c.seq
	req.Flags &^= unix.NLM_F_ACK
	if err := c.send(req.Serialize()); err != nil {
		return nil, err
	}
	for {
		msgs, err := c.read()
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			if m.Header.Seq == req.Seq {
				return answer(m)
			}
		}
	}
}

func answer(m syscall.NetlinkMessage) ([]byte, error) {
	if m.Header.Type != unix.NLMSG_ERROR {
		return m.Data, nil
	}
	if err := replyError(m); err != nil {
		return nil, err
	}
	return nil, errors.New("the kernel acknowledges, but doesn't answer")
}
