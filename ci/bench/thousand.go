package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

const testdata = "ci/bench/testdata"

// The contenders of thousandNodes.
const (
	thousandUp    = "lab of 1,000 nodes, up"
	thousandBare  = "1,000 × unshare(CLONE_NEWNET)"
	thousandNamed = "the same, each kept by a name"
	thousandFloor = "named, with a cable and an address, nothing else"
)

func thousandNodes(o options) figure {
	return figure{
		title: "1,000 nodes on one segment",
		about: "Bridges, 1,000 namespaces, each with lo, a veth cable, an address and pinned settings, against nothing but the\n" +
			"namespaces, made one after the other by one thread; unnamed, they are gone again at once, so the kernel's cleaning up\n" +
			"goes on beside. Before each turn the bench waits until the kernel has cleaned up after the one before.\n" +
			"Of the lab's processor time three tenths are the namespaces themselves, as many the cables, and nearly as many the\n" +
			"settings: fifteen files of /proc a node, which no message can read, each of them in directories that are new as well.\n" +
			"The fourth contender is what a lab of 1,000 nodes cannot do without: it tells how much of the time is the kernel's.",
		measure: func(ctx context.Context) (findings, error) { return measureThousand(ctx, o) },
		wanted: []comparison{
			{thousandUp, thousandBare, 2},
			{thousandUp, thousandNamed, 0},
			{thousandFloor, thousandBare, 0},
			{thousandUp, thousandFloor, 0},
		},
	}
}

func measureThousand(ctx context.Context, o options) (findings, error) {
	if err := needRoot(); err != nil {
		return findings{}, err
	}
	plan, _, err := topology.Open(filepath.Join(testdata, "thousand.yaml"), "")
	if err != nil {
		return findings{}, err
	}
	timings := race(ctx, or(o.rounds, 5), []contender{
		{thousandUp, settled(func(ctx context.Context) (time.Duration, error) { return upOnly(ctx, plan) })},
		{thousandBare, settled(func(context.Context) (time.Duration, error) { return unshare(len(plan.Nodes), "") })},
		{thousandNamed, settled(func(context.Context) (time.Duration, error) { return unshareNamed(len(plan.Nodes)) })},
		{thousandFloor, settled(func(ctx context.Context) (time.Duration, error) { return floorUp(ctx, len(plan.Nodes)) })},
	})
	return findings{timings: timings}, nil
}

func upOnly(ctx context.Context, plan *topology.Plan) (time.Duration, error) {
	start := time.Now()
	l, err := lab.Up(ctx, plan, lab.Options{NoServices: true})
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	return took, l.Down(ctx)
}

// unshare makes n namespaces and, if dir is not empty, binds each to a name in it.
func unshare(n int, dir string) (time.Duration, error) {
	type outcome struct {
		took time.Duration
		err  error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in its last namespace
		start := time.Now()
		err := unshareHere(n, dir)
		done <- outcome{time.Since(start), err}
	}()
	o := <-done
	return o.took, o.err
}

func unshareHere(n int, dir string) error {
	for i := range n {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare network namespace: %w", err)
		}
		if dir == "" {
			continue
		}
		name := filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			return fmt.Errorf("name network namespace: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("name network namespace: %w", err)
		}
	}
	return nil
}

func unshareNamed(n int) (took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "bench-namespaces-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := unix.Mount("names", dir, "tmpfs", 0, ""); err != nil {
		return 0, fmt.Errorf("mount tmpfs: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)) }() // with all the mounts on it
	return unshare(n, dir)
}
