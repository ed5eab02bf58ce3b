package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

// The contenders of guestTraffic.
const (
	ourClient     = "lab/traffic, built-in responders"
	plainClient   = "plain client, built-in responders"
	plainBoth     = "plain client, plain responders"
	ourApart      = "lab/traffic, responders in the agent's process"
	plainApart    = "plain client, responders in the agent's process"
	connections   = 1000
	trafficRounds = 9
	trafficName   = "traffic"
)

func guestTraffic(o options) figure {
	return figure{
		title: "1,000 connections, one by one, through the VIP, in a guest",
		about: "The article's lab with IPVS NAT in one guest. The plain client dials, writes a GET, reads to the end and closes,\n" +
			"with package net, in the client's namespace; the plain responder accepts, reads, writes a fixed answer and closes.\n" +
			"Where it does not say otherwise client and responders share one process. lab/traffic and the built-in responders also\n" +
			"keep the evidence: who answered each connection, from which port, when, and what each server accepted.",
		measure: func(ctx context.Context) (findings, error) { return measureTraffic(ctx, o) },
		wanted: []comparison{
			{ourClient, plainBoth, 1.3},
			{ourClient, plainClient, 1.3},
			{ourApart, plainApart, 1.3},
		},
	}
}

// measureTraffic has this program's other half run in a kernel with IPVS.
func measureTraffic(ctx context.Context, o options) (findings, error) {
	self, err := os.Executable()
	if err != nil {
		return findings{}, fmt.Errorf("find this program: %w", err)
	}
	rounds := strconv.Itoa(or(o.rounds, trafficRounds))
	text, err := output(ctx, o.binary, "kernel", "exec", "--", self, "-inside", trafficName, "-rounds", rounds)
	if err != nil {
		return findings{}, err
	}
	var found findings
	if err := json.Unmarshal(text, &found.timings); err != nil {
		return findings{}, fmt.Errorf("read the guest's timings: %w", err)
	}
	return found, nil
}
