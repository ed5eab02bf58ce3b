package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"golang.org/x/sys/unix"
)

// The contenders of ipvsadmTable.
const (
	ourRestore   = "`ipvsadm -R`, ours"
	theirRestore = "`ipvsadm -R`, the original"
	ourList      = "`ipvsadm -Ln`, ours"
	theirList    = "`ipvsadm -Ln`, the original"
	ourApply     = "the controller: applied and read back"
)

const (
	ipvsadmServices, ipvsadmServers = 1000, 10
	ipvsadmRounds                   = 7
	ipvsadmName                     = "ipvsadm"
)

func ipvsadmTable(o options) figure {
	return figure{
		title: "ipvsadm: 1,000 services with 10 real servers each",
		about: "Whole processes in one guest, each with its start: a rules file is restored into an empty table, and the table\n" +
			"listed. The original is the one in the PATH. The controller does the same in a process that runs already, and reads all of it back.",
		measure: func(ctx context.Context) (findings, error) { return measureIpvsadm(ctx, o) },
		wanted: []comparison{
			{ourRestore, theirRestore, 0.7},
			{ourList, theirList, 0.7},
			{ourApply, theirRestore, 0.5},
		},
	}
}

// measureIpvsadm has this program's other half run in a kernel with IPVS.
func measureIpvsadm(ctx context.Context, o options) (found findings, err error) {
	self, err := os.Executable()
	if err != nil {
		return findings{}, fmt.Errorf("find this program: %w", err)
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return findings{}, fmt.Errorf("find %s: %w", o.binary, err)
	}
	text, err := output(ctx, binary, "kernel", "exec", "--", self,
		"-inside", ipvsadmName, "-binary", binary, "-rounds", strconv.Itoa(or(o.rounds, ipvsadmRounds)))
	if err != nil {
		return findings{}, err
	}
	if err := json.Unmarshal(text, &found.timings); err != nil {
		return findings{}, fmt.Errorf("read the guest's timings: %w", err)
	}
	return found, nil
}

// insideIpvsadm races the two programs in a namespace of their own, and prints
// the timings as JSON. The command is ours by the name that it is called by.
func insideIpvsadm(ctx context.Context, o options) (err error) {
	original, err := exec.LookPath(ipvsadmName)
	if err != nil {
		return fmt.Errorf("find the original: %w", err)
	}
	runtime.LockOSThread() // processes are started from the thread that is in the namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare network namespace: %w", err)
	}
	if _, err := output(ctx, "ip", "link", "set", "lo", "up"); err != nil { // else no address is unicast
		return err
	}
	dir, err := os.MkdirTemp("", "bench-ipvsadm-")
	if err != nil {
		return fmt.Errorf("make temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ours := filepath.Join(dir, ipvsadmName)
	if err := os.Symlink(o.binary, ours); err != nil {
		return fmt.Errorf("name the command: %w", err)
	}
	file := filepath.Join(dir, "rules")
	if err := os.WriteFile(file, rules(), 0o600); err != nil {
		return fmt.Errorf("write rules file: %w", err)
	}
	timings := race(ctx, o.rounds, []contender{
		{ourRestore, func(ctx context.Context) (time.Duration, error) { return restore(ctx, ours, original, file) }},
		{ourApply, func(ctx context.Context) (time.Duration, error) { return reconcile(ctx, original) }},
		{ourList, func(ctx context.Context) (time.Duration, error) { return timed(ctx, []string{ours, "-Ln"}) }},
		{theirList, func(ctx context.Context) (time.Duration, error) { return timed(ctx, []string{original, "-Ln"}) }},
		{theirRestore, func(ctx context.Context) (time.Duration, error) { return restore(ctx, original, original, file) }},
	})
	return errors.Join(ctx.Err(), json.NewEncoder(os.Stdout).Encode(timings))
}

// restore takes the time of -R; what the table held before is removed first.
func restore(ctx context.Context, program, original, file string) (time.Duration, error) {
	if _, err := output(ctx, original, "-C"); err != nil {
		return 0, err
	}
	in, err := os.Open(file)
	if err != nil {
		return 0, fmt.Errorf("open rules file: %w", err)
	}
	defer in.Close()
	cmd := exec.CommandContext(ctx, program, "-R")
	cmd.Stdin = in
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("restore with %s: %w: %s", program, err, out[:min(len(out), 200)])
	}
	return time.Since(start), nil
}

// reconcile takes the time in which a controller fills an empty table.
func reconcile(ctx context.Context, original string) (took time.Duration, err error) {
	if _, err := output(ctx, original, "-C"); err != nil {
		return 0, err
	}
	desired := services()
	start := time.Now()
	table, err := ipvs.Open(ctx, "")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	report, err := lb.NewController(table, lb.ControllerOptions{}).Reconcile(ctx, desired)
	if want := ipvsadmServices * (1 + ipvsadmServers); err == nil && len(report.Done) != want {
		err = fmt.Errorf("the controller made %d changes, not %d", len(report.Done), want)
	}
	return time.Since(start), err
}

// services are those of the rules file.
func services() (list []lb.Service) {
	for i := range ipvsadmServices {
		vip := netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(i % 250)})
		s := lb.Service{Key: lb.AddrKey(lb.TCP, vip, 80), Scheduler: "rr"}
		for j := range ipvsadmServers {
			at := lb.DestKey{Addr: netip.AddrFrom4([4]byte{10, 2, byte(i % 250), byte(j)}), Port: 80}
			s.Destinations = append(s.Destinations, lb.Destination{DestKey: at, Weight: 1})
		}
		list = append(list, s)
	}
	return list
}

// rules are a rules file of ipvsadmServices services.
func rules() (text []byte) {
	for i := range ipvsadmServices {
		vip := fmt.Sprintf("10.1.%d.%d:80", i/250, i%250)
		text = fmt.Appendf(text, "-A -t %s -s rr\n", vip)
		for j := range ipvsadmServers {
			text = fmt.Appendf(text, "-a -t %s -r 10.2.%d.%d:80 -m -w 1\n", vip, i%250, j)
		}
	}
	return text
}
