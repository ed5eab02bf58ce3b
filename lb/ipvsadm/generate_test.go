package ipvsadm_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes command lines from the grammar: mostly right ones about few
// services and servers, so that they meet, and now and then a wrong one.
type generator struct{ *rand.Rand }

// sequences is n reproducible sequences of commands.
func sequences(seed uint64, n int) []sequence {
	var all []sequence
	for i := range n {
		g := generator{rand.New(rand.NewPCG(seed, uint64(i)))}
		s := sequence{name: fmt.Sprintf("generated:%d/%d", seed, i)}
		for range 4 + g.IntN(8) {
			s.lines = append(s.lines, g.line())
		}
		for _, l := range []string{"-Ln", "-Sn", "-L -n --tun-info", "-L -n --thresholds"} {
			s.lines = append(s.lines, commandLine{argv: program(strings.Fields(l))})
		}
		all = append(all, s)
	}
	return all
}

func (g generator) one(words ...string) string { return words[g.IntN(len(words))] }
func (g generator) chance(percent int) bool    { return g.IntN(100) < percent }

func (g generator) line() commandLine {
	switch {
	case g.chance(8):
		var in []string
		for range 1 + g.IntN(6) {
			in = append(in, strings.Join(g.command(), " "))
		}
		return commandLine{argv: []string{"ipvsadm", "-R"}, stdin: strings.Join(in, "\n") + g.one("\n", "\n", "", " ", "  ")}
	case g.chance(12):
		return commandLine{argv: program(g.listing())}
	}
	words := g.command()
	if g.chance(6) { // out of order, or with something odd
		g.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	}
	if g.chance(6) {
		words = append(words, g.one("-n", "-c", "-x", "7", "--stats", "-6", "-p", "--", "-w", "-o", "--pe=sip", "-A", "--foo"))
	}
	return commandLine{argv: program(words)}
}

// command is a change, as words.
func (g generator) command() []string {
	switch n := g.IntN(100); {
	case n < 35:
		return append([]string{g.one("-A", "-A", "-A", "--add-service", "-E", "--edit-service")},
			append(g.service(), g.serviceOptions()...)...)
	case n < 75:
		return append([]string{g.one("-a", "-a", "-a", "--add-server", "-e", "--edit-server")},
			append(append(g.service(), g.server()...), g.serverOptions()...)...)
	case n < 82:
		return append([]string{g.one("-d", "--delete-server")}, append(g.service(), g.server()...)...)
	case n < 88:
		return append([]string{g.one("-D", "--delete-service")}, g.service()...)
	case n < 92:
		return append([]string{g.one("-Z", "--zero")}, g.service()...)
	case n < 94:
		return []string{"--set", fmt.Sprint(g.IntN(2000)), fmt.Sprint(g.IntN(300)), g.one("0", "30", "x")}
	case n < 95:
		return []string{"-C"}
	case n < 97:
		return []string{"--start-daemon", g.one("master", "backup"), "--mcast-interface", "lo", "--syncid", fmt.Sprint(g.IntN(260))}
	case n < 98:
		return []string{"--stop-daemon", g.one("master", "backup")}
	}
	return []string{g.one("-L", "-S", "-Z")}
}

func (g generator) service() []string {
	switch n := g.IntN(100); {
	case n < 15:
		words := []string{g.one("-f", "--fwmark-service"), g.one("1", "2", "2147483649", "0")}
		if g.chance(40) {
			words = append(words, g.one("-6", "--ipv6"))
		}
		return words
	case n < 30:
		return []string{g.one("-t", "-u"), g.one("[2001:db8::1]:80", "[2001:db8::1]:53", "2001:db8::1", "[::102:304]:80", "[2001:db8::1]")}
	}
	option := g.one("-t", "-t", "-t", "-u", "--tcp-service", "--udp-service", "--sctp-service")
	addr := g.one("10.1.0.1", "10.1.0.1", "192.168.7.1", "localhost") + g.one(":80", ":80", ":80", ":53", ":http", "", ":0", ":65536")
	if strings.HasPrefix(option, "--") && g.chance(50) {
		return []string{option + "=" + addr}
	}
	if len(option) == 2 && g.chance(20) {
		return []string{option + addr}
	}
	return []string{option, addr}
}

func (g generator) serviceOptions() (words []string) {
	scheduler := g.one("rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq", "dh", "lblc", "lblcr", "fo", "ovf", "nonsense")
	if g.chance(70) {
		words = append(words, "-s", scheduler)
	}
	if g.chance(40) {
		words = append(words, g.one("-p", "--persistent"))
		if g.chance(60) {
			words = append(words, fmt.Sprint(g.IntN(5000)))
		}
	}
	if g.chance(25) {
		words = append(words, g.one("-M", "--netmask"), g.one("255.255.255.0", "255.0.0.0", "255.255.255.255", "64", "128", "0"))
	}
	if g.chance(15) {
		words = append(words, g.one("-o", "--ops"))
	}
	if g.chance(20) {
		words = append(words, g.one("-b", "--sched-flags"), g.one("sh-port", "sh-fallback,sh-port", "mh-port", "flag-1", "flag-1,flag-2,flag-3", "flag-9"))
	}
	if g.chance(8) {
		words = append(words, "--pe", g.one("sip", "sip", "nope"))
	}
	return words
}

func (g generator) server() []string {
	addr := g.one("10.9.0.1", "10.9.0.2", "172.16.0.3", "192.168.0.4", "127.0.0.1", "localhost") + g.one("", "", ":80", ":8080", ":0", ":http")
	if g.chance(15) {
		addr = g.one("[2001:db8::9]:80", "2001:db8::a", "[2001:db8::b]:8080")
	}
	return []string{g.one("-r", "--real-server"), addr}
}

func (g generator) serverOptions() (words []string) {
	tunnel := false
	if g.chance(80) {
		forward := g.one("-m", "-m", "-g", "-i", "--masquerading", "--gatewaying", "--ipip")
		tunnel = forward == "-i" || forward == "--ipip"
		words = append(words, forward)
	}
	if g.chance(50) {
		words = append(words, g.one("-w", "--weight"), g.one("0", "1", "5", "100", "65535", "65536", "-1"))
	}
	if g.chance(20) {
		words = append(words, g.one("-x", "--u-threshold"), fmt.Sprint(g.IntN(20)))
	}
	if g.chance(15) {
		words = append(words, g.one("-y", "--l-threshold"), fmt.Sprint(g.IntN(20)))
	}
	if tunnel && g.chance(60) || g.chance(3) {
		words = append(words, "--tun-type", g.one("ipip", "gue", "gue", "gre"))
		if g.chance(60) {
			words = append(words, "--tun-port", g.one("6080", "1", "0"))
		}
		if g.chance(50) {
			words = append(words, g.one("--tun-nocsum", "--tun-csum", "--tun-remcsum"))
		}
	}
	return words
}

func (g generator) listing() []string {
	words := []string{g.one("-L", "-l", "--list"), g.one("-n", "-n", "-n", "--numeric", "--sort")}
	for range g.IntN(3) {
		words = append(words, g.one("--stats", "--rate", "--thresholds", "--persistent-conn", "--tun-info",
			"--exact", "-X", "--sort", "--timeout", "--daemon", "-c"))
	}
	if g.chance(40) {
		words = append(words, g.service()...)
	}
	return words
}
