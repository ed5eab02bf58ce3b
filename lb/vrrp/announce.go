package vrrp

import "time"

// reassert is the least time between announcements that rivals provoke.
const reassert = time.Second

// announcing is when an Active router tells its networks where the addresses are.
type announcing struct {
	said    time.Time // the latest time
	soon    time.Time // a rival was heard shortly after: as soon as it may be said again; zero: no
	again   time.Time // once more, for those that missed it; zero: no
	refresh time.Time // for no reason; zero: no
}

// next is when fire has something to do; zero: never.
func (a *announcing) next() (next time.Time) {
	for _, t := range []time.Time{a.soon, a.again, a.refresh} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// fire tells how often to announce now: mostly 0.
func (a *announcing) fire(now time.Time, refresh time.Duration) (repeat int) {
	due := func(t *time.Time) bool {
		if t.IsZero() || now.Before(*t) {
			return false
		}
		*t = time.Time{}
		return true
	}
	if due(&a.refresh) {
		repeat = refreshRepeat
	}
	soon, again := due(&a.soon), due(&a.again)
	if soon || again {
		repeat = Repeat
	}
	if repeat > 0 {
		a.said = now
	}
	if refresh > 0 && a.again.IsZero() && a.refresh.IsZero() {
		a.refresh = now.Add(refresh)
	}
	return repeat
}

// provoke is for when somebody else was heard who takes the addresses for its
// own: it tells how often to announce at once.
func (a *announcing) provoke(now time.Time) (repeat int) {
	a.again = now.Add(reannounce)
	if may := a.said.Add(reassert); now.Before(may) {
		a.soon = may
		return 0
	}
	a.said, a.soon = now, time.Time{}
	return Repeat
}
