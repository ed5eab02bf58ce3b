package vrrp

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	src6 = netip.MustParseAddr("fe80::1")
	vip6 = netip.MustParseAddr("fd00::100")
)

func encode(t *testing.T, a Advert, src, dst netip.Addr) []byte {
	t.Helper()
	b, err := a.Append(nil, src, dst)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFormat holds packets against bytes that tshark 4.0 decodes without a word of complaint.
func TestFormat(t *testing.T) {
	for name, c := range map[string]struct {
		advert   Advert
		src, dst netip.Addr
		want     string
	}{
		"version 2": {
			Advert{Version: 2, VRID: 51, Priority: 100, Interval: time.Second, Addresses: []netip.Addr{vip}},
			self, MulticastIPv4, "21336401000170660a0000640000000000000000",
		},
		"version 2 with a password": {
			Advert{
				Version: 2, VRID: 51, Priority: 100, Interval: time.Second, Addresses: []netip.Addr{vip},
				AuthType: AuthPass, Password: PasswordOf("secret"),
			},
			self, MulticastIPv4, "213364010101331a" + "0a000064" + "7365637265740000",
		},
		"version 3": {
			Advert{Version: 3, VRID: 51, Priority: 100, Interval: 100 * ms, Addresses: []netip.Addr{vip}},
			self, MulticastIPv4, "31336401000a75c90a000064",
		},
		"version 3, IPv6": {
			Advert{Version: 3, VRID: 51, Priority: 255, Interval: maxCentis * centisecond, Addresses: []netip.Addr{vip6}},
			src6, MulticastIPv6, "3133ff010fffc3abfd000000000000000000000000000100",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := encode(t, c.advert, c.src, c.dst)
			if got := hex.EncodeToString(b); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			got, err := Parse(b, c.src, c.dst, TTL)
			if err != nil || !reflect.DeepEqual(got, c.advert) {
				t.Errorf("comes back as %+v, %v", got, err)
			}
		})
	}
}

// TestPlainChecksum takes version 3 over IPv4 as RFC 9568 has it, too.
func TestPlainChecksum(t *testing.T) {
	a := Advert{Version: 3, VRID: 51, Priority: 100, Interval: time.Second, Addresses: []netip.Addr{vip}}
	b := encode(t, a, self, MulticastIPv4)
	b[6], b[7] = 0, 0
	plain := ^fold(sum(0, b))
	b[6], b[7] = byte(plain>>8), byte(plain)
	if _, err := Parse(b, self, MulticastIPv4, TTL); err != nil {
		t.Error(err)
	}
	six := Advert{Version: 3, VRID: 51, Priority: 100, Interval: time.Second, Addresses: []netip.Addr{vip6}}
	b = encode(t, six, src6, MulticastIPv6)
	b[6], b[7] = 0, 0
	plain = ^fold(sum(0, b))
	b[6], b[7] = byte(plain>>8), byte(plain)
	if _, err := Parse(b, src6, MulticastIPv6, TTL); !errors.Is(err, ErrChecksum) {
		t.Errorf("IPv6 without pseudo-header: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := Advert{Version: 3, VRID: 51, Priority: 100, Interval: time.Second, Addresses: []netip.Addr{vip}}
	old := Advert{Version: 2, VRID: 51, Priority: 100, Interval: time.Second, Addresses: []netip.Addr{vip}}
	for name, c := range map[string]struct {
		a      Advert
		change func([]byte) []byte
		ttl    int
		want   error
	}{
		"another network's":  {good, slices.Clone[[]byte], 254, ErrTTL},
		"nothing":            {good, func([]byte) []byte { return nil }, TTL, ErrLength},
		"cut short":          {good, func(b []byte) []byte { return b[:len(b)-1] }, TTL, ErrLength},
		"more than it says":  {good, func(b []byte) []byte { return append(b, 0, 0, 0, 0) }, TTL, ErrLength},
		"no address":         {good, func(b []byte) []byte { b[3] = 0; return b[:8] }, TTL, ErrLength},
		"version 1":          {good, func(b []byte) []byte { b[0] = 0x11; return b }, TTL, ErrVersion},
		"type 2":             {good, func(b []byte) []byte { b[0] = 0x32; return b }, TTL, ErrType},
		"a bit turned":       {good, func(b []byte) []byte { b[2] ^= 1; return b }, TTL, ErrChecksum},
		"version 2, a bit":   {old, func(b []byte) []byte { b[19] ^= 1; return b }, TTL, ErrChecksum},
		"version 2 cut":      {old, func(b []byte) []byte { return b[:12] }, TTL, ErrLength},
		"version 3 as two's": {old, func(b []byte) []byte { b[0] = 0x31; return b }, TTL, ErrLength},
	} {
		b := c.change(encode(t, c.a, self, MulticastIPv4))
		if _, err := Parse(b, self, MulticastIPv4, c.ttl); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	b := encode(t, old, self, MulticastIPv4)
	if _, err := Parse(b, src6, MulticastIPv6, TTL); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2 over IPv6: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	for want, a := range map[string]Advert{
		"0 addresses":   {Version: 3, Interval: time.Second},
		"256 addresses": {Version: 3, Interval: time.Second, Addresses: make([]netip.Addr, 256)},
		"40.95s":        {Version: 3, Interval: time.Minute, Addresses: []netip.Addr{vip}},
		"whole seconds": {Version: 2, Interval: 100 * ms, Addresses: []netip.Addr{vip}},
		"version is":    {Version: 1, Interval: time.Second, Addresses: []netip.Addr{vip}},
	} {
		if b, err := a.Append([]byte("x"), self, MulticastIPv4); err == nil || !strings.Contains(err.Error(), want) || string(b) != "x" {
			t.Errorf("want %q: %q, %v", want, b, err)
		}
	}
}

// FuzzParse: what is accepted can be encoded again, and says the same.
func FuzzParse(f *testing.F) {
	for _, a := range []Advert{
		{Version: 2, VRID: 1, Priority: 0, Interval: time.Second, Addresses: []netip.Addr{vip}},
		{Version: 3, VRID: 255, Priority: 255, Interval: centisecond, Addresses: []netip.Addr{vip, self}},
		{Version: 2, VRID: 7, Priority: 9, Interval: time.Second, Addresses: []netip.Addr{vip}, AuthType: AuthPass, Password: PasswordOf("eightbytes")},
	} {
		b, err := a.Append(nil, self, MulticastIPv4)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
	}
	six := Advert{Version: 3, VRID: 51, Priority: 1, Interval: time.Second, Addresses: []netip.Addr{vip6}}
	b, err := six.Append(nil, src6, MulticastIPv6)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, true)
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		src, dst := self, MulticastIPv4
		if v6 {
			src, dst = src6, MulticastIPv6
		}
		a, err := Parse(b, src, dst, TTL)
		if err != nil || a.Interval == 0 {
			return
		}
		again, err := Parse(encode(t, a, src, dst), src, dst, TTL)
		if err != nil || !reflect.DeepEqual(again, a) {
			t.Errorf("%+v comes back as %+v, %v", a, again, err)
		}
	})
}
