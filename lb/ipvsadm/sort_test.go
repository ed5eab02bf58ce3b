package ipvsadm

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/ipvslab/ipvslab/lb"
)

// TestSortIsTheOriginals holds an order that was recorded from ipvsadm 1.31
// for destinations added in this order; the comparison is not transitive.
func TestSortIsTheOriginals(t *testing.T) {
	var all lb.Service
	for _, a := range []string{"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "1.1.1.1", "223.255.255.1", "128.0.0.1"} {
		all.Destinations = append(all.Destinations, lb.Destination{DestKey: lb.DestKey{Addr: netip.MustParseAddr(a), Port: 80}})
	}
	dests := newestFirst(nil, all.Destinations)
	mergeSort(dests, make([]lb.Destination, len(dests)), compareDests)
	var got []string
	for _, d := range dests {
		got = append(got, d.Addr.String())
	}
	want := []string{"100.64.0.1", "128.0.0.1", "172.16.0.1", "192.168.0.1", "223.255.255.1", "1.1.1.1", "10.0.0.1"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestMergeSortKeepsEquals(t *testing.T) {
	s := []int{5, 13, 3, 15, 23, 1, 33, 11}
	mergeSort(s, make([]int, len(s)), func(a, b *int) int32 { return int32(*a%10 - *b%10) })
	if want := []int{1, 11, 13, 3, 23, 33, 5, 15}; !slices.Equal(s, want) {
		t.Errorf("got %v, want %v", s, want)
	}
}
