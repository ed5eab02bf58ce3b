package oracle

import "slices"

// roundRobin is rr (ip_vs_rr.c). An add leaves the cursor where it is; the
// removal of the destination under the cursor moves it to the one before.
type roundRobin struct {
	cursor *dest // the last choice; nil: the list's head
}

func (s *roundRobin) changed(_ *table, c change) {
	if c.kind == removed && c.dest == s.cursor {
		s.cursor = c.prev
	}
}

func (s *roundRobin) pick(t *table, _ Conn) *dest {
	n := len(t.dests)
	at := slices.Index(t.dests, s.cursor) // -1: the head
	for i := 1; i <= n; i++ {
		if d := t.dests[(at+i)%n]; d.usable() {
			s.cursor = d
			return d
		}
	}
	return nil
}

// weightedRoundRobin is wrr (ip_vs_wrr.c): the list is walked once for each
// level of weight, from the highest down, and a destination is taken on each
// level that its weight reaches.
type weightedRoundRobin struct {
	cursor *dest // cl: the last choice; nil: the list's head
	level  int32 // cw
	top    int32 // mw: the highest weight, less step-1
	step   int32 // di: the greatest common divisor of the weights above 0
}

func (s *weightedRoundRobin) changed(t *table, c change) {
	s.cursor, s.step, s.top = nil, 0, 0
	for _, d := range t.dests {
		s.step = gcd(d.weight, s.step)
		s.top = max(s.top, d.weight)
	}
	s.step = max(s.step, 1)
	s.top -= s.step - 1
	switch {
	case c.kind == bound, s.level > s.top, s.level == 0:
		s.level = s.top
	case s.step > 1:
		s.level = s.level/s.step*s.step + 1
	}
}

// pick walks as the kernel does, with the same three ways of giving up: no
// weight above 0; a whole walk on the lowest level from the head; and, having
// begun in the middle, a second walk on the lowest level up to the beginning.
func (s *weightedRoundRobin) pick(t *table, _ Conn) *dest {
	if s.top == 0 {
		return nil
	}
	begin := slices.Index(t.dests, s.cursor) // -1: the head
	at, stop := begin, -1
	lastPass, restarted := false, false
	for {
		for at++; at < len(t.dests); at++ {
			d := t.dests[at]
			if !d.overloaded && d.weight >= s.level {
				s.cursor = d
				return d
			}
			if at == stop {
				s.cursor = d
				return nil
			}
		}
		at = -1
		s.level -= s.step
		if s.level <= 0 {
			s.level = s.top
			if lastPass || begin == -1 {
				s.cursor = nil
				return nil
			}
			restarted = true
		}
		lastPass = s.level <= s.step
		if lastPass && restarted {
			stop = begin
		}
	}
}

// gcd is the greatest common divisor; a weight of 0 or less does not count.
func gcd(a, b int32) int32 {
	if a <= 0 {
		return b
	}
	for b > 0 {
		a, b = b, a%b
	}
	return a
}
