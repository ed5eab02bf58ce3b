package traffic

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are at most 1/32 of their value
// wide, so that a percentile read from it is at most 3.2 % too high. The zero
// value is empty and ready.
type Histogram struct {
	buckets []uint64
	count   uint64
	sum     time.Duration
	min     time.Duration
	max     time.Duration
}

// histogramBits is the number of bits that a bucket's bound keeps.
const histogramBits = 5

// Add counts one duration; a negative one counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	b := bucketOf(uint64(d))
	for len(h.buckets) <= b {
		h.buckets = append(h.buckets, make([]uint64, b+1-len(h.buckets))...)
	}
	h.buckets[b]++
	if h.count == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.count++
	h.sum += d
}

// bucketOf numbers the buckets: one per value below 64, then 32 to each doubling.
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-histogramBits-1, 0)
	return shift<<histogramBits + int(v>>shift)
}

// bucketTop is the largest value in a bucket.
func bucketTop(b int) time.Duration {
	shift := max(b>>histogramBits-1, 0)
	top := uint64(b-shift<<histogramBits)<<shift | (1<<shift - 1)
	return time.Duration(top)
}

// Count is the number of durations added.
func (h Histogram) Count() uint64 { return h.count }

// Mean is their mean; Min and Max are exact.
func (h Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return h.sum / time.Duration(h.count)
}

// Min is the shortest duration added.
func (h Histogram) Min() time.Duration { return h.min }

// Max is the longest duration added.
func (h Histogram) Max() time.Duration { return h.max }

// Percentile is the duration that p per cent of those added don't exceed.
func (h Histogram) Percentile(p float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	want := uint64(float64(h.count)*p/100 + 0.9999999)
	var seen uint64
	for b, n := range h.buckets {
		seen += n
		if n > 0 && seen >= want {
			return min(max(bucketTop(b), h.min), h.max)
		}
	}
	return h.max
}

// Bucket is a row of a histogram: how many durations are at most UpTo and
// above the row before.
type Bucket struct {
	UpTo  time.Duration `json:"upToNs"`
	Count uint64        `json:"count"`
}

type histogramJSON struct {
	Count   uint64        `json:"count"`
	Min     time.Duration `json:"minNs"`
	Mean    time.Duration `json:"meanNs"`
	P50     time.Duration `json:"p50Ns"`
	P90     time.Duration `json:"p90Ns"`
	P99     time.Duration `json:"p99Ns"`
	P999    time.Duration `json:"p999Ns"`
	Max     time.Duration `json:"maxNs"`
	Buckets []Bucket      `json:"buckets,omitempty"`
}

// Buckets lists the buckets that are not empty.
func (h Histogram) Buckets() []Bucket {
	var rows []Bucket
	for b, n := range h.buckets {
		if n > 0 {
			rows = append(rows, Bucket{bucketTop(b), n})
		}
	}
	return rows
}

// MarshalJSON implements json.Marshaler.
func (h Histogram) MarshalJSON() ([]byte, error) {
	return json.Marshal(histogramJSON{
		h.count, h.min, h.Mean(), h.Percentile(50), h.Percentile(90),
		h.Percentile(99), h.Percentile(99.9), h.max, h.Buckets(),
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var j histogramJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("read histogram: %w", err)
	}
	*h = Histogram{count: j.Count, min: j.Min, max: j.Max, sum: j.Mean * time.Duration(j.Count)}
	for _, row := range j.Buckets {
		b := bucketOf(uint64(row.UpTo))
		for len(h.buckets) <= b {
			h.buckets = append(h.buckets, make([]uint64, b+1-len(h.buckets))...)
		}
		h.buckets[b] += row.Count
	}
	return nil
}
