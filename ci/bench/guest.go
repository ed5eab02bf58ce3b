package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The contenders of guestStart.
const (
	bareGuest = "bare guest"
	runTrue   = "`ipvslab run examples/article.yaml -- true`"
	execTrue  = "`ipvslab kernel exec -- true`"
)

func guestStart(o options) figure {
	return figure{
		title: "From exec to a working lab in a guest",
		about: "The bare guest is the same user-mode Linux kernel, run directly, without any confinement; its init powers off with\n" +
			"its first instruction. It has the same command line, but measures its delay loop, as kernels do, which ipvslab's is told;\n" +
			"and its memory is in small pages. `run` brings the article's lab up with IPVS and\n" +
			"responders, runs true(1) and takes the lab down.",
		measure: func(ctx context.Context) (findings, error) { return measureGuest(ctx, o) },
		wanted: []comparison{
			{runTrue, bareGuest, 3},
			{execTrue, bareGuest, 3},
		},
	}
}

func measureGuest(ctx context.Context, o options) (found findings, err error) {
	kernel, err := umlKernel(ctx, o)
	if err != nil {
		return findings{}, err
	}
	dir, err := os.MkdirTemp("", "bench-guest-")
	if err != nil {
		return findings{}, fmt.Errorf("make temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	initPath := filepath.Join(dir, "init")
	if err := os.WriteFile(initPath, powerOffInit(), 0o755); err != nil {
		return findings{}, fmt.Errorf("write init: %w", err)
	}
	timings := race(ctx, or(o.rounds, 15), []contender{
		{bareGuest, func(ctx context.Context) (time.Duration, error) { return bootBare(ctx, kernel, initPath, dir) }},
		{runTrue, func(ctx context.Context) (time.Duration, error) {
			return timed(ctx, []string{o.binary, "--kernel", kernel, "run", "--name", "bench-guest", article, "--", "true"})
		}},
		{execTrue, func(ctx context.Context) (time.Duration, error) {
			return timed(ctx, []string{o.binary, "--kernel", kernel, "kernel", "exec", "--", "true"})
		}},
	})
	return findings{timings: timings}, nil
}

// umlKernel asks the command which user-mode Linux it would take.
func umlKernel(ctx context.Context, o options) (string, error) {
	text, err := output(ctx, o.binary, "--kernel", "uml", "kernel", "status", "--json")
	if err != nil {
		return "", err
	}
	var status struct {
		Refusal  string
		Decision *struct{ Kernel *struct{ Path string } }
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return "", fmt.Errorf("read kernel status: %w", err)
	}
	if status.Decision == nil {
		return "", errors.New(status.Refusal)
	}
	if status.Decision.Kernel == nil {
		return "", errors.New("no user-mode Linux kernel is at hand; `ipvslab kernel fetch` gets one")
	}
	return status.Decision.Kernel.Path, nil
}
