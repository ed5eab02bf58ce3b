package lab

import (
	"testing"
	"time"
)

// SetLeaveGrace changes, for a test, how long a visitor may stay.
func SetLeaveGrace(t *testing.T, d time.Duration) {
	before := leaveGrace
	leaveGrace = d
	t.Cleanup(func() { leaveGrace = before })
}
