package lb

import (
	"fmt"
	"strconv"
	"strings"
)

// MarshalText gives the protocol's name, for JSON and YAML.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (p *Protocol) UnmarshalText(text []byte) error {
	for _, known := range []Protocol{TCP, UDP, SCTP} {
		if known.String() == string(text) {
			*p = known
			return nil
		}
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(string(text), "proto"), 10, 8)
	if err != nil {
		return fmt.Errorf("parse protocol %q: none of tcp, udp, sctp, proto0 to proto255", text)
	}
	*p = Protocol(n)
	return nil
}

// MarshalText gives the forwarding method's word in a topology file: nat, dr,
// tun, or local.
func (f Forward) MarshalText() ([]byte, error) {
	switch f {
	case NAT:
		return []byte("nat"), nil
	case Local:
		return []byte("local"), nil
	case TUN:
		return []byte("tun"), nil
	case DR:
		return []byte("dr"), nil
	}
	return nil, fmt.Errorf("name forwarding method %d: none of the kernel's", uint8(f))
}

// UnmarshalText is the inverse of MarshalText.
func (f *Forward) UnmarshalText(text []byte) error {
	for known := NAT; known <= DR; known++ {
		if name, _ := known.MarshalText(); string(name) == string(text) {
			*f = known
			return nil
		}
	}
	return fmt.Errorf("parse forwarding method %q: none of nat, local, tun, dr", text)
}
