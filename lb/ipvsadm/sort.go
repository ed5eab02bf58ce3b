package ipvsadm

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// Listings are ordered by the original's comparison, in which addresses and
// firewall marks are subtracted as 32-bit integers and the difference is taken
// as signed. That is no order (192.168.0.0 comes before 10.0.0.0, which comes before
// 100.0.0.0, which comes before 192.168.0.0), so the result depends on the
// algorithm too: glibc's qsort(3) is the merge sort below.

// mergeSort sorts like glibc's qsort: halves, the smaller first; of elements
// that compare equal the left one first. tmp is as long as s, or longer.
func mergeSort[T any](s, tmp []T, cmp func(a, b *T) int32) {
	if len(s) < 2 {
		return
	}
	left, right := s[:len(s)/2], s[len(s)/2:]
	mergeSort(left, tmp, cmp)
	mergeSort(right, tmp, cmp)
	n, i, j := 0, 0, 0
	for i < len(left) && j < len(right) {
		if cmp(&left[i], &right[j]) <= 0 {
			tmp[n] = left[i]
			i++
		} else {
			tmp[n] = right[j]
			j++
		}
		n++
	}
	n += copy(tmp[n:], left[i:]) // what is left of the right half is in place
	copy(s, tmp[:n])
}

// compareServices is ipvs_cmp_services of libipvs.
func compareServices(a, b *lb.Service) int32 {
	if r := int32(a.FWMark - b.FWMark); r != 0 {
		return r
	}
	if r := int32(a.Family) - int32(b.Family); r != 0 {
		return r
	}
	if r := int32(a.Protocol) - int32(b.Protocol); r != 0 {
		return r
	}
	if r := compareAddrs(a.Addr, b.Addr, a.Family); r != 0 {
		return r
	}
	return int32(a.Port) - int32(b.Port)
}

// compareDests is ipvs_cmp_dests of libipvs; of a mixed pair, the first decides
// how many words are compared.
func compareDests(a, b *lb.Destination) int32 {
	if r := compareAddrs(a.Addr, b.Addr, addrFamily(a.Addr)); r != 0 {
		return r
	}
	return int32(a.Port) - int32(b.Port)
}

func compareAddrs(a, b netip.Addr, f lb.Family) int32 {
	x, y := addrWords(a), addrWords(b)
	n := 1
	if f == lb.IPv6 {
		n = len(x)
	}
	for i := range n {
		if r := int32(x[i] - y[i]); r != 0 {
			return r
		}
	}
	return 0
}

// addrWords lays an address out as the kernel's union nf_inet_addr does.
func addrWords(a netip.Addr) (w [4]uint32) {
	switch {
	case a.Is4():
		b := a.As4()
		w[0] = binary.BigEndian.Uint32(b[:])
	case a.IsValid():
		b := a.As16()
		for i := range w {
			w[i] = binary.BigEndian.Uint32(b[4*i:])
		}
	}
	return w
}

// newestFirst gives destinations in the order in which the original gets them
// from the kernel, in the memory of into.
func newestFirst(into, dests []lb.Destination) []lb.Destination {
	into = append(into[:0], dests...)
	slices.Reverse(into)
	return into
}
