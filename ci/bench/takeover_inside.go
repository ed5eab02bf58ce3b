package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// insideTakeover measures in this kernel, and prints the timings as JSON.
func insideTakeover(ctx context.Context, rounds int, only *regexp.Regexp) error {
	var contenders []contender
	for _, c := range takeoverCases() {
		if !only.MatchString(c.String()) {
			continue
		}
		contenders = append(contenders, contender{c.String(), c.run})
	}
	timings := race(ctx, rounds, contenders)
	return errors.Join(ctx.Err(), json.NewEncoder(os.Stdout).Encode(timings))
}

// run brings a lab up, ends its first director, and tells how long nobody was served.
func (c takeoverCase) run(ctx context.Context) (gap time.Duration, err error) {
	plan, _, err := topology.Open(filepath.Join(testdata, "takeover.yaml"), "")
	if err != nil {
		return 0, err
	}
	plan.Failover[0].Interval = c.interval
	for i := range plan.Directors {
		plan.Directors[i].Kind = topology.DirectorKind(c.kind)
	}
	l, err := lab.Up(ctx, plan, lab.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Down(ctx)) }()
	pid, err := directorPID(l) // it takes time, and processor, to find out
	if err != nil {
		return 0, err
	}
	v, err := visit(l)
	if err != nil {
		return 0, err
	}
	defer v.stop()
	if err := v.await(ctx, time.Now(), settleFor); err != nil {
		return 0, fmt.Errorf("before the fault: %w", err)
	}
	if err := pause(ctx, time.Duration(rand.Int64N(int64(c.interval)))); err != nil {
		return 0, err
	}
	if err := c.end(l, pid); err != nil {
		return 0, err
	}
	ended := time.Now()
	if err := v.await(ctx, ended.Add(c.limit()/4), settleFor); err != nil {
		return 0, fmt.Errorf("after the fault: %w", err)
	}
	return v.longestGap(), nil
}

// settleFor is how long requests are to be served before and after.
const settleFor = 200 * time.Millisecond

// spacing is the time between requests: it adds to a gap, and the load of the
// requests to everything else.
const spacing = 5 * time.Millisecond

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// directorPID finds the first director's process.
func directorPID(l *lab.Lab) (int, error) {
	status, err := l.Status()
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(status.Processes, func(p lab.ProcessStatus) bool { return p.What == "director of node first" })
	if i < 0 {
		return 0, errors.New("the first director has no process")
	}
	return status.Processes[i].PID, nil
}

// end kills or stops the first director.
func (c takeoverCase) end(l *lab.Lab, pid int) error {
	if !c.killed {
		return unix.Kill(pid, unix.SIGTERM)
	}
	// keepalived is several processes; those that survive the others say goodbye.
	for _, p := range append(children(pid), pid) {
		if err := unix.Kill(p, unix.SIGKILL); err != nil {
			return fmt.Errorf("kill process %d: %w", p, err)
		}
	}
	node, err := l.Node("first")
	if err != nil {
		return err
	}
	ns, err := netns.Open(node.Namespace())
	if err != nil {
		return err
	}
	defer ns.Close()
	return rtnl.Read(ns, func(h *netlink.Handle) error {
		for _, name := range []string{"outside", "inside"} {
			link, err := h.LinkByName(name)
			if err == nil {
				err = h.LinkSetDown(link)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// children are a process's, by the fourth field of proc_pid_stat(5).
func children(pid int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is a good one
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		if p, err := strconv.Atoi(strings.Split(path, "/")[2]); err == nil {
			pids = append(pids, p)
		}
	}
	return pids
}

// visits are requests at a steady rate, and when each was served.
type visits struct {
	stop func()

	mu     sync.Mutex
	served []time.Time
}

// visit begins to visit the VIP from the client.
func visit(l *lab.Lab) (*visits, error) {
	client, err := l.Node("client")
	if err != nil {
		return nil, err
	}
	vip := l.Plan().Services[0].Spec.Key
	to := net.JoinHostPort(vip.Addr.String(), strconv.Itoa(int(vip.Port)))
	v := &visits{}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	v.stop = func() { cancel(); running.Wait() }
	running.Go(func() {
		tick := time.NewTicker(spacing)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				running.Go(func() { v.request(ctx, client, to) })
			}
		}
	})
	return v, nil
}

func (v *visits) request(ctx context.Context, client *lab.Node, to string) {
	var conn net.Conn
	err := client.Do(func() (err error) {
		conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", to)
		return err
	})
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return
	}
	if _, err := io.ReadFull(conn, make([]byte, 12)); err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.served = append(v.served, time.Now())
}

// await returns when requests have been served for so long, since a time or later.
func (v *visits) await(ctx context.Context, since time.Time, long time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("requests were not served for %v: %w", long, err)
		}
		v.mu.Lock()
		i := slices.IndexFunc(v.served, func(t time.Time) bool { return t.After(since) })
		done := i >= 0 && time.Since(v.served[i]) > long && time.Since(v.served[len(v.served)-1]) < long/4
		v.mu.Unlock()
		if done {
			return nil
		}
	}
}

// longestGap is the longest time between one served request and the next.
func (v *visits) longestGap() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	var longest time.Duration
	for i := 1; i < len(v.served); i++ {
		longest = max(longest, v.served[i].Sub(v.served[i-1]))
	}
	return longest
}
