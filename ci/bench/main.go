package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/lab"
)

// options are the command line's.
type options struct {
	binary   string
	rounds   int
	makeTest bool
}

func main() {
	lab.Hook() // this program makes labs as well
	var o options
	out := flag.String("out", "", "where to write the report; empty: standard output")
	only := flag.String("only", "", "measure only the figures whose title matches this expression")
	inside := flag.String("inside", "", "be the part of this name that runs in a kernel with IPVS; for this program's own use")
	flag.StringVar(&o.binary, "binary", "bin/ipvslab", "the command to measure")
	flag.IntVar(&o.rounds, "rounds", 0, "how often each contender runs; 0: as often as suits the figure")
	flag.BoolVar(&o.makeTest, "test", false, "measure `make test` too, which takes minutes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := run(ctx, o, *out, *only, *inside)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out, only, inside string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("parse -only: %w", err)
	}
	switch inside {
	case trafficName:
		return insideTraffic(ctx, o.rounds)
	case takeoverName:
		return insideTakeover(ctx, o.rounds, match)
	case clientsName:
		return insideClients(ctx, o.rounds)
	case ipvsadmName:
		return insideIpvsadm(ctx, o)
	}
	report := report{machine: describeMachine()}
	for _, f := range figures(o) {
		if !match.MatchString(f.title) {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench:", f.title)
		report.add(ctx, f)
		if ctx.Err() != nil {
			return fmt.Errorf("measure %s: %w", f.title, ctx.Err())
		}
	}
	report.loadAfter = loadAverage()
	if out == "" {
		_, err := report.WriteTo(os.Stdout)
		return err
	}
	return report.writeFile(out)
}

// figures are what is measured, in the report's order.
func figures(o options) []figure {
	return []figure{
		upDown(o),
		thousandNodes(o),
		idleMemory(),
		guestStart(o),
		guestTraffic(o),
		clientsFigure(o),
		ipvsadmTable(o),
		takeover(o),
		testTime(o),
	}
}

// or is n, unless that is zero.
func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
