package traffic

import (
	"net/netip"
	"sync"
	"time"
)

// Accepted is one connection (or datagram, for UDP) that a responder took.
type Accepted struct {
	Seq      uint64         `json:"seq"` // order of acceptance in the whole Host, from 1
	Time     time.Time      `json:"time"`
	Node     string         `json:"node"`
	Protocol string         `json:"protocol"`
	Identity string         `json:"identity"`
	Local    netip.AddrPort `json:"local"`  // the address the client asked for, as it arrived here
	Remote   netip.AddrPort `json:"remote"` // the client, as seen from here
}

// AcceptLog is an excerpt of what a Host accepted.
type AcceptLog struct {
	Entries []Accepted `json:"entries"`
	// Next is what to pass to [Host.Accepted] for whatever comes after this excerpt.
	Next uint64 `json:"next"`
	// Lost is how many entries of the wanted excerpt had been overwritten.
	Lost uint64 `json:"lost,omitempty"`
}

// acceptLog is a ring of the newest entries; it grows up to its limit.
type acceptLog struct {
	mu    sync.Mutex
	ring  []Accepted
	limit int
	next  uint64 // sequence number of the entry to come, from 1
}

func newAcceptLog(limit int) *acceptLog {
	return &acceptLog{limit: limit, next: 1}
}

func (l *acceptLog) add(a Accepted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.Seq = l.next
	l.next++
	if len(l.ring) < l.limit {
		l.ring = append(l.ring, a)
		return
	}
	l.ring[(a.Seq-1)%uint64(l.limit)] = a
}

// since copies the entries with a sequence number of at least seq.
func (l *acceptLog) since(seq uint64) AcceptLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq = max(seq, 1)
	out := AcceptLog{Next: l.next}
	oldest := l.next - uint64(len(l.ring))
	if seq < oldest {
		out.Lost = oldest - seq
		seq = oldest
	}
	for ; seq < l.next; seq++ {
		out.Entries = append(out.Entries, l.ring[(seq-1)%uint64(l.limit)])
	}
	return out
}
