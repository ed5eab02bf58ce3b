package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// say writes one line to the user.
func (f Fetcher) say(line string) {
	if f.Progress != nil {
		fmt.Fprintln(f.Progress, line)
	}
}

// progressInterval is how often a long download says how far it got.
const progressInterval = time.Second

// watch says every second how much of total is there, until stop is called. On
// a terminal it keeps to one line; elsewhere, a line for each tenth.
func (f Fetcher) watch(have func() int64, total int64) (stop func()) {
	if f.Progress == nil || total <= 0 {
		return func() {}
	}
	file, ok := f.Progress.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		shown := int64(-1)
		for {
			select {
			case <-quit:
				if terminal && shown >= 0 {
					fmt.Fprint(f.Progress, "\r\033[K")
				}
				return
			case <-tick.C:
			}
			n := have()
			tenth := n * 10 / total
			switch {
			case terminal:
				fmt.Fprintf(f.Progress, "\r  %d of %d MiB", mib(n), mib(total))
			case tenth != shown:
				fmt.Fprintf(f.Progress, "  %d of %d MiB\n", mib(n), mib(total))
			}
			shown = tenth
		}
	})
	return func() {
		close(quit)
		done.Wait()
	}
}

// lock takes the file lock, and says so when it has to wait for another
// process. The kernel releases it with the process, however that ends.
func lock(ctx context.Context, path string, say func(string)) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	for waited := time.Duration(0); ; waited += 100 * time.Millisecond {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock the cache: flock %s: %w", path, err)
		}
		if waited == time.Second {
			say("waiting for another ipvslab that is fetching")
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
