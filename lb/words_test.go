package lb_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipvslab/ipvslab/lb"
)

func TestFlagWords(t *testing.T) {
	const all = lb.Sched1 | lb.Sched2 | lb.Sched3
	for _, c := range []struct {
		scheduler    string
		flags        lb.Flags
		words, lists []string
	}{
		{"rr", 0, nil, nil},
		{"sh", lb.Sched2, []string{"sh-port"}, []string{"sh-port"}},
		{"mh", lb.Sched1, []string{"mh-fallback"}, []string{"mh-fallback"}},
		{"rr", all, []string{"flag-1", "flag-2", "flag-3"}, []string{"flag-1", "flag-2", "flag-3"}},
		{"", lb.Sched1, []string{"flag-1"}, []string{"flag-1"}},
		{"sh", all, []string{"sh-fallback", "sh-port", "flag-3"}, []string{"sh-fallback", "sh-port"}},
		{"mh", lb.Sched3, []string{"flag-3"}, nil},
		{"mh", lb.OnePacket | lb.Sched2 | 0x100, []string{"one-packet", "mh-port", "0x100"}, []string{"mh-port"}},
	} {
		if d := cmp.Diff(c.words, c.flags.Words(c.scheduler)); d != "" {
			t.Errorf("%s, %#x: %s", c.scheduler, c.flags, d)
		}
		if d := cmp.Diff(c.lists, c.flags.SchedulerWords(c.scheduler)); d != "" {
			t.Errorf("%s, %#x, in a listing: %s", c.scheduler, c.flags, d)
		}
	}
}

// Flags are called as their own scheduler calls them, even if that differs too.
func TestDifferencesNameFlags(t *testing.T) {
	service := func(scheduler string, flags lb.Flags) []lb.Service {
		key := lb.AddrKey(lb.TCP, netip.MustParseAddr("10.0.0.1"), 80)
		return []lb.Service{{Key: key, Scheduler: scheduler, Flags: flags}}
	}
	for _, c := range []struct {
		have, planned []lb.Service
		want          string
	}{
		{service("sh", 0), service("sh", lb.Sched2), "flags is none, planned is sh-port"},
		{service("mh", lb.Sched1|lb.Sched2), service("mh", lb.Sched1), "flags is mh-fallback,mh-port, planned is mh-fallback"},
		{service("sh", lb.Sched1), service("mh", lb.Sched2), "scheduler is sh, planned is mh; flags is sh-fallback, planned is mh-port"},
	} {
		want := []string{"tcp 10.0.0.1:80: " + c.want}
		if d := cmp.Diff(want, lb.Differences(c.have, c.planned, lb.DiffOptions{})); d != "" {
			t.Error(d)
		}
	}
}
