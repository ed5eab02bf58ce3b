package ipvs

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// nlaTypeMask takes the flags off an attribute's type (NLA_TYPE_MASK).
const nlaTypeMask = 0x3fff

// message is one netlink message of an answer; its data is the receiver's.
type message struct {
	kind uint16
	seq  uint32
	data []byte
}

// splitMessages takes what one receive gave apart (struct nlmsghdr), and
// appends the messages to out.
func splitMessages(out []message, b []byte) ([]message, error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(native.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return nil, fmt.Errorf("malformed answer: message of %d bytes in %d", length, len(b))
		}
		out = append(out, message{kind: native.Uint16(b[4:]), seq: native.Uint32(b[8:]), data: b[unix.NLMSG_HDRLEN:length]})
		b = b[min(align4(length), len(b)):]
	}
	return out, nil
}

// ends tells whether nothing more follows for this message's request.
func (m message) ends() bool { return m.kind == unix.NLMSG_ERROR || m.kind == unix.NLMSG_DONE }

// errno is what an ending message says; zero is success.
func (m message) errno() unix.Errno {
	if len(m.data) < 4 {
		return 0
	}
	return unix.Errno(-int32(native.Uint32(m.data)))
}

// payload is what follows the generic-netlink header.
func (m message) payload() []byte { return m.data[min(genlHeader, len(m.data)):] }

func align4(n int) int { return (n + 3) &^ 3 }

// attrs are the attributes of one nest, by type. Getters say false for an
// attribute that is missing or too short.
type attrs [maxAttr][]byte

// maxAttr is more than the highest attribute any of the nests is read for; a
// newer kernel's further ones are passed over.
const maxAttr = 16

// parseAttrs takes a run of attributes apart (struct nlattr).
func parseAttrs(b []byte) (out attrs, err error) {
	for len(b) >= unix.SizeofNlAttr {
		length := int(native.Uint16(b))
		if length < unix.SizeofNlAttr || length > len(b) {
			return out, fmt.Errorf("malformed answer: attribute of %d bytes in %d", length, len(b))
		}
		if t := native.Uint16(b[2:]) & nlaTypeMask; t < maxAttr {
			out[t] = b[unix.SizeofNlAttr:length:length]
		}
		b = b[min(align4(length), len(b)):]
	}
	return out, nil
}

// has tells whether there is such an attribute, be it empty.
func (a *attrs) has(t uint16) bool { return a[t] != nil }

// nest parses the attributes within an attribute.
func (a *attrs) nest(t uint16) (attrs, error) {
	if !a.has(t) {
		return attrs{}, fmt.Errorf("malformed answer: attribute %d is missing", t)
	}
	return parseAttrs(a[t])
}

// uint8 is zero when the attribute is missing.
func (a *attrs) uint8(t uint16) uint8 {
	if b := a[t]; len(b) >= 1 {
		return b[0]
	}
	return 0
}

func (a *attrs) uint16(t uint16) (uint16, bool) {
	if b := a[t]; len(b) >= 2 {
		return native.Uint16(b), true
	}
	return 0, false
}

func (a *attrs) uint32(t uint16) (uint32, bool) {
	if b := a[t]; len(b) >= 4 {
		return native.Uint32(b), true
	}
	return 0, false
}

// uint is a number of 4 or 8 bytes; zero if there is none.
func (a *attrs) uint(t uint16) uint64 {
	switch b := a[t]; {
	case len(b) >= 8:
		return native.Uint64(b)
	case len(b) >= 4:
		return uint64(native.Uint32(b))
	}
	return 0
}

// port is a number of 2 bytes in network order; zero if there is none.
func (a *attrs) port(t uint16) uint16 {
	if b := a[t]; len(b) >= 2 {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// text is a zero-terminated string.
func (a *attrs) text(t uint16) string {
	s, _, _ := bytes.Cut(a[t], []byte{0})
	return string(s)
}
