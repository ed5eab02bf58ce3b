package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/poll"
)

// reservePrefix begins the names of the files in the runtime directory whose
// locks (flock(2)) reserve labs' names.
const reservePrefix = ".lab-"

// Reserve makes this process the only one that may make a lab of that name in
// a guest, until release is called or the process ends. It waits for another
// one as long as ctx allows.
func Reserve(ctx context.Context, lab string) (release func(), err error) {
	pace := poll.Start()
	for {
		root, err := runtimeDir(true)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(root, reservePrefix+lab)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil && holds(f, path) {
			return func() {
				_ = os.Remove(path) // it says nothing without the lock
				f.Close()
				_ = os.Remove(root) // guests may be in it
			}, nil
		}
		if err == nil {
			f.Close()
		} else if !errors.Is(err, fs.ErrNotExist) { // the empty directory was removed in between
			return nil, fmt.Errorf("reserve lab name %s: %w", lab, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the process that makes lab %s: %w", lab, ctx.Err())
		case <-pace.Again():
		}
	}
}

// holds takes the lock of a file if it is free. Whoever gets that of a file
// which was removed meanwhile has got nothing: hence the comparison.
func holds(f *os.File, path string) bool {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	mine, err1 := f.Stat()
	current, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(mine, current)
}

// sweepReservation removes a reservation whose process is gone. It tells
// whether the name is a reservation's.
func sweepReservation(root, name string) bool {
	if !strings.HasPrefix(name, reservePrefix) {
		return false
	}
	path := filepath.Join(root, name)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return true // just released
	}
	defer f.Close()
	if holds(f, path) {
		_ = os.Remove(path) // the next call tries again
	}
	return true
}
