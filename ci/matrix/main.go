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
	onlyJob  string
	seen     string   // file of what was seen in earlier runs
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
	flag.StringVar(&o.only, "only", "", "examine only kernels whose name contains this; of others the report says what was seen before")
	flag.StringVar(&o.onlyJob, "job", "", "run only the parts of the suite whose name contains this")
	flag.StringVar(&o.seen, "seen", "bin/matrix.json", "file that keeps what was seen, for -only")
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
	seen, err := seenBefore(o.seen)
	if err != nil {
		return err
	}
	r := report{}
	failed := false
	for _, k := range kernels {
		row, before := seen[k.Name]
		if strings.Contains(k.Name, o.only) {
			row, before = examine(ctx, o, k, row), true
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !before {
			continue
		}
		failed = failed || row.failed()
		r.rows = append(r.rows, row)
		seen[k.Name] = row
		if err := remember(o.seen, seen); err != nil {
			return err
		}
	}
	if err := r.write(o.out); err != nil {
		return err
	}
	if failed {
		return errors.New("a kernel did not boot, or tests failed: see the report")
	}
	return nil
}

// seenBefore are the rows of earlier runs, by the kernel's name.
func seenBefore(path string) (map[string]row, error) {
	seen := map[string]row{}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return seen, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &seen)
	}
	if err != nil {
		return nil, fmt.Errorf("read what was seen before: %w", err)
	}
	return seen, nil
}

func remember(path string, seen map[string]row) error {
	data, err := json.MarshalIndent(seen, "", "\t")
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("keep what was seen: %w", err)
	}
	return nil
}

// examine finds out what a kernel can do, and runs the suite in it. What is not
// run now stays as it was seen before.
func examine(ctx context.Context, o options, k kernel, before row) row {
	fmt.Fprintln(os.Stderr, "matrix:", k.Name)
	out := row{Date: time.Now().UTC().Format(time.DateOnly), Kernel: k}
	if k.Missing != "" {
		return out
	}
	var err error
	if out.Facts, err = lookInside(ctx, o, k); err != nil {
		out.BootError = err.Error()
		return out
	}
	for _, j := range jobs(o) {
		switch {
		case ctx.Err() != nil:
			return out
		case o.showOnly || !strings.Contains(j.name, o.onlyJob):
			out.Results = append(out.Results, before.result(j.name))
		case !k.emulated() || j.emulated || o.full:
			out.Results = append(out.Results, j.run(ctx, o, k))
		default:
			out.Results = append(out.Results, result{Job: j.name, Left: true})
		}
	}
	return out
}
