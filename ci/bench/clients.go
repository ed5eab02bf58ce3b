package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
)

const (
	clientsName   = "clients"
	clientsRounds = 5
	clientsTotal  = 1000 // connections
)

// concurrencies are those that the clients are compared at.
var concurrencies = []int{1, 16, 256}

func ourName(c int) string  { return fmt.Sprintf("lab/traffic, %d at once", c) }
func sumsName(c int) string { return fmt.Sprintf("lab/traffic, sums only, %d at once", c) }
func abName(c int) string   { return fmt.Sprintf("`ab -c %d`", c) }
func wrkName(c int) string  { return fmt.Sprintf("`wrk -c %d`", c) }

func clientsFigure(o options) figure {
	f := figure{
		title: "1,000 connections through the VIP, against ab and wrk, in a guest",
		about: "One HTTP request a connection, which the server closes, at a concurrency of 1, 16 and 256, in the article's lab with\n" +
			"IPVS NAT in one guest; the responders are those of the agent's process. `ab -n 1000`; `wrk -t1` with the header\n" +
			"\"Connection: close\", for two seconds, its time for 1,000 taken from its rate. Neither keeps what lab/traffic keeps of each\n" +
			"connection (source port, who answered, when); with sums only it does not either.",
		measure: func(ctx context.Context) (findings, error) { return measureClients(ctx, o) },
	}
	for _, c := range concurrencies {
		for _, theirs := range []string{abName(c), wrkName(c)} {
			f.wanted = append(f.wanted, comparison{ourName(c), theirs, 1}, comparison{sumsName(c), theirs, 0})
		}
	}
	return f
}

// measureClients has this program's other half run in a kernel with IPVS.
func measureClients(ctx context.Context, o options) (findings, error) {
	self, err := os.Executable()
	if err != nil {
		return findings{}, fmt.Errorf("find this program: %w", err)
	}
	rounds := strconv.Itoa(or(o.rounds, clientsRounds))
	text, err := output(ctx, o.binary, "kernel", "exec", "--", self, "-inside", clientsName, "-rounds", rounds)
	if err != nil {
		return findings{}, err
	}
	var found findings
	if err := json.Unmarshal(text, &found.timings); err != nil {
		return findings{}, fmt.Errorf("read the guest's timings: %w", err)
	}
	for _, t := range found.timings {
		if m := median(t.Times); m > 0 {
			found.values = append(found.values, value{what: t.Name, amount: fmt.Sprintf("%.0f connections/s", clientsTotal/m.Seconds())})
		}
	}
	return found, nil
}

// insideClients races the clients in this kernel, and prints the timings as JSON.
func insideClients(ctx context.Context, rounds int) (err error) {
	l, err := trafficLab(ctx, "bench-clients", lab.Detached)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Down(ctx)) }()
	client, err := l.Node("client")
	if err != nil {
		return err
	}
	var timings []timing
	for _, c := range concurrencies {
		n := strconv.Itoa(c)
		spec := traffic.Spec{To: web, Connections: clientsTotal, Concurrency: c, Close: traffic.CloseServer}
		sums := spec
		sums.SumsOnly = true
		timings = append(timings, race(ctx, rounds, []contender{
			{ourName(c), func(ctx context.Context) (time.Duration, error) { return visitMany(ctx, client.Do, spec) }},
			{sumsName(c), func(ctx context.Context) (time.Duration, error) { return visitMany(ctx, client.Do, sums) }},
			{abName(c), func(ctx context.Context) (time.Duration, error) {
				return byRate(ctx, client.Do, abRate, "ab", "-q", "-n", strconv.Itoa(clientsTotal), "-c", n, address(web))
			}},
			{wrkName(c), func(ctx context.Context) (time.Duration, error) {
				return byRate(ctx, client.Do, wrkRate, "wrk", "-t1", "-d2s", "-c", n, "-H", "Connection: close", address(web))
			}},
		})...)
	}
	return errors.Join(ctx.Err(), json.NewEncoder(os.Stdout).Encode(timings))
}

func address(to netip.AddrPort) string { return "http://" + to.String() + "/" }

func visitMany(ctx context.Context, enter traffic.Enter, spec traffic.Spec) (time.Duration, error) {
	result, err := traffic.Run(ctx, enter, spec)
	if err == nil && result.Answered() != spec.Connections {
		err = fmt.Errorf("only %d of %d connections were answered: %v", result.Answered(), spec.Connections, result.Errors)
	}
	return result.Elapsed, err
}

// The lines in which ab and wrk tell their rate, and how wrk tells of failures.
var (
	abRate   = regexp.MustCompile(`(?m)^Requests per second:\s+([0-9.]+)`)
	wrkRate  = regexp.MustCompile(`(?m)^Requests/sec:\s+([0-9.]+)`)
	failures = regexp.MustCompile(`(?m)^(Failed requests:\s+[1-9].*|\s*Socket errors:.*|\s*Non-2xx.*)`)
)

// byRate runs a client in the namespace and makes its rate a time.
func byRate(ctx context.Context, enter traffic.Enter, rate *regexp.Regexp, argv ...string) (time.Duration, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return 0, fmt.Errorf("%w; Debian's packages apache2-utils and wrk have them", err)
	}
	argv[0] = path
	var text []byte
	err = enter(func() (err error) { // a process begins in the namespace of the thread that starts it
		text, err = output(ctx, argv...)
		return err
	})
	if err != nil {
		return 0, err
	}
	if why := failures.Find(text); why != nil {
		return 0, fmt.Errorf("run %s: %s", argv[0], why)
	}
	found := rate.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("run %s: it tells no rate: %s", argv[0], text)
	}
	perSecond, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil || perSecond <= 0 {
		return 0, fmt.Errorf("run %s: its rate is %s", argv[0], found[1])
	}
	return time.Duration(clientsTotal / perSecond * float64(time.Second)), nil
}
