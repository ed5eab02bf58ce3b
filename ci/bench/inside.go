package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/topology"
)

// The services of testdata/traffic.yaml.
var (
	web   = netip.MustParseAddrPort("192.168.1.117:80")
	plain = netip.MustParseAddrPort("192.168.1.117:81")
)

// insideTraffic races the clients in this kernel, and prints the timings as JSON.
func insideTraffic(ctx context.Context, rounds int) (err error) {
	here, err := trafficLab(ctx, "bench-here", lab.InProcess)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, here.Down(ctx)) }()
	apart, err := trafficLab(ctx, "bench-apart", lab.Detached)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, apart.Down(ctx)) }()
	for _, name := range []string{"real1", "real2"} {
		if err := servePlainly(here, name, plain.Port()); err != nil {
			return err
		}
	}
	var contenders []contender
	for _, c := range []struct {
		name  string
		lab   *lab.Lab
		to    netip.AddrPort
		visit func(context.Context, traffic.Enter, netip.AddrPort) error
	}{
		{ourClient, here, web, visitWithTraffic},
		{plainClient, here, web, visitPlainly},
		{plainBoth, here, plain, visitPlainly},
		{ourApart, apart, web, visitWithTraffic},
		{plainApart, apart, web, visitPlainly},
	} {
		client, err := c.lab.Node("client")
		if err != nil {
			return err
		}
		contenders = append(contenders, contender{c.name, func(ctx context.Context) (time.Duration, error) {
			start := time.Now()
			err := c.visit(ctx, client.Do, c.to)
			return time.Since(start), err
		}})
	}
	timings := race(ctx, rounds, contenders)
	return errors.Join(ctx.Err(), json.NewEncoder(os.Stdout).Encode(timings))
}

func trafficLab(ctx context.Context, name string, agent lab.AgentMode) (*lab.Lab, error) {
	plan, _, err := topology.Open(filepath.Join(testdata, "traffic.yaml"), name)
	if err != nil {
		return nil, err
	}
	return lab.Up(ctx, plan, lab.Options{Agent: agent})
}

func visitWithTraffic(ctx context.Context, enter traffic.Enter, to netip.AddrPort) error {
	result, err := traffic.Run(ctx, enter, traffic.Spec{To: to, Connections: connections})
	if err == nil && result.Answered() != connections {
		err = fmt.Errorf("only %d of %d connections were answered: %v", result.Answered(), connections, result.Errors)
	}
	return err
}
