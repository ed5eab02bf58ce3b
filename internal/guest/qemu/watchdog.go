package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// errHangs says that a boot will come to nothing.
var errHangs = errors.New("the guest's kernel hangs while booting")

// watchdog tells a boot that hangs from one that is slow because the host is
// busy. Both take long; but a good boot needs only so much of the processor,
// and never leaves it alone for long.
type watchdog struct {
	limit time.Duration // of time, and then of processor time too
	cpu   func() (time.Duration, bool)

	start, moved time.Time // moved: when it last used the processor
	used         time.Duration
}

const (
	watchInterval = 200 * time.Millisecond
	idleLimit     = 3 * time.Second       // without any progress: it waits for an interrupt that won't come
	progress      = 10 * time.Millisecond // one clock tick of /proc/PID/stat
)

// watch ends the returned context, with a cause that wraps errHangs, when the
// boot hangs.
func (w *watchdog) watch(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	w.start, w.moved = time.Now(), time.Now()
	go func() {
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				if w.hangs(now) {
					cancel(fmt.Errorf("%w (%v, %v of processor time)", errHangs, now.Sub(w.start).Round(time.Second), w.used))
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

func (w *watchdog) hangs(now time.Time) bool {
	used, known := w.cpu()
	if used-w.used >= progress {
		w.used, w.moved = used, now
	}
	switch {
	case now.Sub(w.start) < w.limit:
		return false
	case !known:
		return true
	default:
		return w.used >= w.limit || now.Sub(w.moved) >= idleLimit
	}
}

// cpuTime is the processor time that QEMU has used. It is QEMU's own process
// that counts, the child of the sandbox's first.
func (a *attempt) cpuTime() (time.Duration, bool) {
	pid := a.process.Pid()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, false
	}
	var total time.Duration
	for child := range strings.FieldsSeq(string(children)) {
		stat, err := os.ReadFile("/proc/" + child + "/stat")
		if err != nil {
			return 0, false
		}
		total += parseCPU(string(stat))
	}
	return total, total > 0
}

// parseCPU adds up utime and stime, fields 14 and 15 of proc_pid_stat(5), in
// ticks of USER_HZ, which is 100 on every architecture.
func parseCPU(stat string) time.Duration {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from field 3 on
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
