package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// options are the command line's.
type options struct {
	binary   string
	out      string
	picks    int
	build    bool
	fetch    bool
	full     bool
	only     string
	kernels  []string // by path
	showOnly bool
}

func main() {
	var o options
	var inside bool
	flag.StringVar(&o.out, "out", "", "where to write the report; empty: standard output")
	flag.StringVar(&o.binary, "binary", "bin/ipvslab", "the command whose guests are used")
	flag.IntVar(&o.picks, "picks", 10_000, "picks per scheduler in a row")
	flag.BoolVar(&o.build, "build", true, "build user-mode Linux 6.12 if it is not there (minutes)")
	flag.BoolVar(&o.fetch, "fetch", true, "fetch packaged kernels that are not there (hundreds of MB)")
	flag.BoolVar(&o.full, "full", false, "run all of the suite under QEMU too")
	flag.StringVar(&o.only, "only", "", "take only kernels whose name contains this")
	flag.BoolVar(&o.showOnly, "facts", false, "find out what the kernels can do, but run no tests")
	flag.BoolVar(&inside, "inside", false, "look at the running kernel; for this program's own use")
	flag.Parse()
	o.kernels = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx, o, inside)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, inside bool) error {
	if inside {
		return json.NewEncoder(os.Stdout).Encode(look(ctx))
	}
	kernels, err := atHand(ctx, o)
	if err != nil {
		return err
	}
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return fmt.Errorf("find %s: %w", o.binary, err)
	}
	r := report{date: time.Now().UTC(), picks: o.picks}
	failed := false
	for _, k := range kernels {
		if !strings.Contains(k.name, o.only) {
			continue
		}
		row := examine(ctx, o, k)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed = failed || row.failed()
		r.rows = append(r.rows, row)
	}
	if err := r.write(o.out); err != nil {
		return err
	}
	if failed {
		return errors.New("a kernel did not boot, or tests failed: see the report")
	}
	return nil
}

// examine finds out what a kernel can do, and runs the suite in it.
func examine(ctx context.Context, o options, k kernel) row {
	fmt.Fprintln(os.Stderr, "matrix:", k.name)
	out := row{kernel: k}
	if k.missing != "" {
		return out
	}
	out.facts, out.bootError = lookInside(ctx, o, k)
	if out.bootError != nil || o.showOnly {
		return out
	}
	for _, j := range jobs(o) {
		if ctx.Err() != nil {
			break
		}
		if !k.emulated() || j.emulated || o.full {
			out.results = append(out.results, j.run(ctx, o, k))
		} else {
			out.results = append(out.results, result{job: j.name, left: true})
		}
	}
	return out
}
