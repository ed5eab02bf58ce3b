package scenarios

import (
	"strings"
	"testing"
	"time"
)

func TestBusy(t *testing.T) {
	for _, c := range []struct {
		took, late time.Duration
		says       string
	}{
		{10 * time.Second, 100 * time.Millisecond, ""},
		{100 * time.Millisecond, 50 * time.Millisecond, ""},
		{10 * time.Second, 5 * time.Second, "for 5.0 of 10.0 s"},
	} {
		if got := busy(c.took, c.late); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("late by %v of %v: %q, want %q", c.late, c.took, got, c.says)
		}
	}
}

// A lab with nothing wrong is waited for; one that has failed already is not.
func TestPatienceEndsWithTheFirstFailure(t *testing.T) {
	st := &stage{}
	if st.visitTimeout() != patientVisit || st.settleTimeout() != patientSettle {
		t.Error("hasty from the start")
	}
	st.failed = true
	if st.visitTimeout() != hastyVisit || st.settleTimeout() != hastySettle {
		t.Error("still patient")
	}
}
