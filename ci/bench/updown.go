package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// The contenders of upDown.
const (
	ourCommands = "`ipvslab up`, `down`"
	ourPackage  = "package lab, in process"
	ipScript    = "script of `ip` commands, up, down"
	mininet     = "mininet, up and down"
)

const article = "examples/article.yaml"

func upDown(o options) figure {
	return figure{
		title: "The article's topology, up and down, in this kernel",
		about: "Five nodes on two segments, without IPVS. Against a script of `ip` commands (`ci/bench/article-ip.sh`) and\n" +
			"against mininet with Linux bridges (`ci/bench/article-mininet.py`); whole processes unless it says otherwise.\n" +
			"ipvslab sets and reads back more than the others (all that LVS depends on), records what it does, and starts responders.\n" +
			"Before each turn the bench waits until the kernel has taken down the namespaces of the one before.",
		measure: func(ctx context.Context) (findings, error) { return measureUpDown(ctx, o) },
		wanted: []comparison{
			{ourCommands, ipScript, 0.5},
			{ourCommands, mininet, 0.1},
			{ourPackage, ipScript, 0.5},
			{ourPackage, mininet, 0.1},
		},
	}
}

func measureUpDown(ctx context.Context, o options) (findings, error) {
	if err := needRoot(); err != nil {
		return findings{}, err
	}
	plan, _, err := topology.Open(article, "bench-package")
	if err != nil {
		return findings{}, err
	}
	const script = "ci/bench/article-ip.sh"
	contenders := []contender{
		{ourCommands, func(ctx context.Context) (time.Duration, error) {
			return timed(ctx, []string{o.binary, "--kernel", "host", "up", "--no-services", "--name", "bench-command", article},
				[]string{o.binary, "down", "bench-command"})
		}},
		{ourPackage, func(ctx context.Context) (time.Duration, error) { return inProcess(ctx, plan) }},
		{ipScript, needing(func(ctx context.Context) (time.Duration, error) {
			return timed(ctx, []string{"bash", script, "up"}, []string{"bash", script, "down"})
		}, "bash", "ip", "sysctl")},
		{mininet, needing(func(ctx context.Context) (time.Duration, error) {
			return timed(ctx, []string{"/usr/bin/python3", "ci/bench/article-mininet.py"})
		}, "/usr/bin/python3", "mn", "brctl")},
	}
	for i := range contenders {
		contenders[i].Run = settled(contenders[i].Run)
	}
	return findings{timings: race(ctx, or(o.rounds, 15), contenders)}, nil
}

// inProcess is what a Go test pays for a lab.
func inProcess(ctx context.Context, plan *topology.Plan) (time.Duration, error) {
	start := time.Now()
	l, err := lab.Up(ctx, plan, lab.Options{NoServices: true})
	if err != nil {
		return 0, err
	}
	if err := l.Down(ctx); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// packages are where the programs come from, on Debian and Ubuntu.
var packages = map[string]string{
	"bash": "bash", "ip": "iproute2", "sysctl": "procps",
	"/usr/bin/python3": "python3", "mn": "mininet", "brctl": "bridge-utils",
}

// needing makes a contender say what it lacks before it starts.
func needing(run func(context.Context) (time.Duration, error), programs ...string) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		for _, p := range programs {
			if _, err := exec.LookPath(p); err != nil {
				return 0, fmt.Errorf("%s is not installed (Debian's package %s)", p, packages[p])
			}
		}
		return run(ctx)
	}
}
