package traffic

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBucketsHoldTheirValues(t *testing.T) {
	last := time.Duration(-1)
	for b := range 1500 {
		top := bucketTop(b)
		if top < 0 {
			break // past the largest duration
		}
		if top <= last || bucketOf(uint64(top)) != b || bucketOf(uint64(last+1)) != b {
			t.Fatalf("bucket %d: %d to %d, which are in buckets %d and %d", b, last+1, top, bucketOf(uint64(last+1)), bucketOf(uint64(top)))
		}
		last = top
	}
}

func TestPercentilesAreAtMostABucketTooHigh(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []time.Duration
	for range 10000 {
		d := time.Duration(r.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		h.Add(d)
	}
	slices.Sort(all)
	for _, p := range []float64{1, 50, 90, 99, 99.9, 100} {
		exact := all[max(int(p/100*10000)-1, 0)]
		got := h.Percentile(p)
		if got < exact || float64(got) > 1.033*float64(exact)+1 {
			t.Errorf("%g %%: got %s, exact %s", p, got, exact)
		}
	}
	data, err := json.Marshal(h)
	must(t, err)
	var back Histogram
	must(t, json.Unmarshal(data, &back))
	if back.Percentile(99) != h.Percentile(99) || back.Count() != h.Count() || back.Max() != h.Max() {
		t.Errorf("JSON there and back: %s", data)
	}
}

func TestSummary(t *testing.T) {
	r := newResult(Spec{Protocol: HTTP, To: netip.MustParseAddrPort("192.168.1.117:80")})
	r.Opened, r.Elapsed = 1500, 1500*time.Millisecond
	for i := range 1500 {
		c := Connection{Outcome: Answered, Identity: []string{"rs1", "rs2"}[i%2], Latency: time.Duration(i+1) * time.Microsecond, Requests: 1}
		if i%15 == 0 {
			c = Connection{Outcome: Refused, Kind: "ECONNREFUSED"}
		}
		r.add(&c)
	}
	var b strings.Builder
	must(t, r.Summary(&b))
	want := `1,500 http connections to 192.168.1.117:80 in 1.5 s (933 per second)

answered by   connections
rs1                   700   46.7 %  ###################
rs2                   700   46.7 %  ###################

not answered   connections
ECONNREFUSED           100    6.7 %  ###

latency       min 2 µs   mean 751 µs   50 % 754 µs   90 % 1.38 ms   99 % 1.5 ms   max 1.5 ms
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}
