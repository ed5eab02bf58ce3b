package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

func idleMemory() figure {
	return figure{
		title:   "Memory of an idle node",
		about:   "Resident memory of the lab's one process, its agent, with 1,000 nodes up, divided by 1,000.",
		measure: measureMemory,
	}
}

func measureMemory(ctx context.Context) (findings, error) {
	if err := needRoot(); err != nil {
		return findings{}, err
	}
	var found findings
	for _, c := range []struct{ what, file string }{
		{"a node without responder", "thousand.yaml"},
		{"a node with an HTTP responder", "thousand-serving.yaml"},
	} {
		share, err := perNode(ctx, filepath.Join(testdata, c.file))
		if err != nil {
			return findings{}, err
		}
		mark := "≤ 100 KiB: met"
		if share > 100 {
			mark = "≤ 100 KiB: **missed**"
		}
		found.values = append(found.values, value{c.what, fmt.Sprintf("%.1f KiB", share), mark})
	}
	return found, nil
}

// perNode is the agent's resident memory for one node of the lab, in KiB.
func perNode(ctx context.Context, file string) (share float64, err error) {
	plan, _, err := topology.Open(file, "")
	if err != nil {
		return 0, err
	}
	l, err := lab.Up(ctx, plan, lab.Options{NoServices: true, Agent: lab.Detached})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Down(ctx)) }()
	status, err := l.Status()
	if err != nil {
		return 0, err
	}
	resident := -1
	for _, p := range status.Processes {
		resident = kibibytes(fmt.Sprintf("/proc/%d/status", p.PID), "VmRSS")
	}
	if resident < 0 {
		return 0, errors.New("read the agent's resident memory: no such process, or no VmRSS")
	}
	return float64(resident) / float64(len(plan.Nodes)), nil
}

// kibibytes reads a "name: N kB" line; -1 if there is none.
func kibibytes(path, name string) int {
	n, err := strconv.Atoi(strings.TrimSuffix(field(path, name), " kB"))
	if err != nil {
		return -1
	}
	return n
}
