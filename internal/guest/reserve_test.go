package guest

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReserve: a name has one owner at a time, whoever sweeps meanwhile, and nothing is left.
func TestReserve(t *testing.T) {
	root := inRuntimeDir(t)
	var owners, turns atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				release, err := Reserve(t.Context(), "one")
				if err != nil {
					t.Error(err)
					return
				}
				if n := owners.Add(1); n != 1 {
					t.Errorf("%d owners", n)
				}
				if _, _, err := List(); err != nil {
					t.Error(err)
				}
				turns.Add(1)
				owners.Add(-1)
				release()
			}
		})
	}
	all.Wait()
	if _, err := os.Stat(root); turns.Load() != 160 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%d turns; left: %v", turns.Load(), err)
	}
}

// TestReserveWaits: not longer than it is allowed to; and what a killed process left goes with the next list.
func TestReserveWaits(t *testing.T) {
	root := inRuntimeDir(t)
	release, err := Reserve(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Reserve(ctx, "one"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is taken: %v", err)
	}
	release()
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/"+reservePrefix+"killed", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := List(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}
