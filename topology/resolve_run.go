package topology

import (
	"cmp"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

// readyWithin is the deadline of a command's condition unless told otherwise.
const readyWithin = 30 * time.Second

func (p *planner) addRoutes(n *node) {
	for i, r := range n.spec.Routes {
		path := n.path + ".routes[" + itoa(i) + "]"
		if p.broken(path) {
			continue
		}
		route := Route{
			To: r.To.Prefix, Via: r.Via, Device: r.Device, Source: r.Source, Metric: r.Metric, MTU: r.MTU,
			Table: r.Table, Type: string(r.Type),
		}
		if route.Type == "unicast" {
			route.Type = ""
		}
		if !route.To.IsValid() {
			route.To = defaultRoute(r.Via.Is6() || r.Source.Is6())
		}
		p.checkRoute(n, path, route)
		n.Routes = append(n.Routes, route)
	}
}

// defaultRoute is the zero prefix of a family.
func defaultRoute(v6 bool) netip.Prefix {
	if v6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func (p *planner) checkRoute(n *node, path string, r Route) {
	discards := r.Type != "" && r.Type != "local"
	if r.Device != "" {
		// A tunnel that the role brings is not there yet, so lint looks again.
		p.checkDeviceOrTunnel(n, path+".device", r.Device)
	}
	switch {
	case discards && (r.Via.IsValid() || r.Device != ""):
		p.errorf(path, "leave via and device out", "a %s route leads nowhere", r.Type)
	case r.Type == "" && !r.Via.IsValid() && r.Device == "":
		p.errorf(path, "say via or device", "a route without next hop and link")
	case r.Via.IsValid() && r.Via.Is4() != r.To.Addr().Is4():
		p.errorf(path, "", "a route to %s via %s mixes families", r.To, r.Via)
	case r.Source.IsValid() && r.Source.Is4() != r.To.Addr().Is4():
		p.errorf(path, "", "a route to %s from %s mixes families", r.To, r.Source)
	case r.Via.IsValid() && r.Device == "" && onLink(n.Node, r.Via) == nil && !p.broken(n.path+".interfaces"):
		p.errorf(path+".via", "take an address on one of the node's networks", "%s is on none of the node's networks", r.Via)
	}
}

// fallbackTunnels are links that a role may bring later.
var fallbackTunnels = []string{"tunl0", "ip6tnl1", "sit0", "gre1"}

func (p *planner) checkDeviceOrTunnel(n *node, path, name string) {
	if !slices.Contains(fallbackTunnels, name) {
		p.checkDevice(n, path, name)
	}
}

func (p *planner) addCommands(n *node) {
	for _, e := range n.spec.Run {
		path := join(n.path+".run", e.Key)
		if p.broken(path) {
			continue
		}
		if !nodeName.MatchString(e.Key) || len(e.Key) > maxName {
			p.errorf(path, nameRule, "found the command's name %q", e.Key)
		}
		if len(e.Value.Argv) == 0 || e.Value.Argv[0] == "" {
			p.errorf(path, "say argv: [program, argument, ...]", "a command without program")
		}
		n.Commands = append(n.Commands, Command{
			Name: e.Key, Argv: e.Value.Argv, Dir: e.Value.Dir,
			Env: p.env(path+".env", e.Value.Env), Ready: p.ready(path+".ready", e.Value.Ready),
		})
	}
}

// env is a command's additional environment; nil if there is none.
func (p *planner) env(path string, vars Ordered[SysctlValue]) map[string]string {
	if len(vars) == 0 {
		return nil
	}
	env := map[string]string{}
	for _, v := range vars {
		if v.Key == "" || strings.Contains(v.Key, "=") {
			p.errorf(join(path, v.Key), "allowed: a name without =", "found the variable's name %q", v.Key)
		}
		env[v.Key] = string(v.Value)
	}
	return env
}

func (p *planner) ready(path string, r ReadySpec) Ready {
	said := 0
	for _, set := range []bool{r.TCP != "", r.HTTP != "", r.File != "", r.Log != "", r.Exit} {
		if set {
			said++
		}
	}
	if said > 1 {
		p.errorf(path, "keep one of tcp, http, file, log, exit", "%d conditions at once", said)
	}
	if r.TCP != "" {
		if _, err := netip.ParseAddrPort(r.TCP); err != nil {
			p.errorf(path+".tcp", "allowed: address:port, such as 127.0.0.1:80", "found %q", r.TCP)
		}
	}
	if r.HTTP != "" {
		if u, err := url.Parse(r.HTTP); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			p.errorf(path+".http", "allowed: a URL, such as http://127.0.0.1/", "found %q", r.HTTP)
		}
	}
	if _, err := regexp.Compile(r.Log); err != nil {
		p.errorf(path+".log", "allowed: a regular expression (RE2)", "%v", err)
	}
	return Ready{
		TCP: r.TCP, HTTP: r.HTTP, File: r.File, Log: r.Log, Exit: r.Exit,
		Within: cmp.Or(time.Duration(r.Within), readyWithin),
	}
}

// addServe plans the servers that the file names.
func (p *planner) addServe(n *node) {
	if n.spec.Serve == nil {
		return
	}
	for i, r := range *n.spec.Serve {
		path := n.path + ".serve[" + itoa(i) + "]"
		if p.broken(path) {
			continue
		}
		said := 0
		for _, s := range []struct {
			proto string
			ports PortRange
		}{{"http", r.HTTP}, {"tcp", r.TCP}, {"udp", r.UDP}, {"sctp", r.SCTP}} {
			if s.ports == (PortRange{}) {
				continue
			}
			said++
			for port := int(s.ports.First); port <= int(s.ports.Last) && port < int(s.ports.First)+maxPorts; port++ {
				n.Responders = append(n.Responders, Responder{
					Protocol: s.proto, Addrs: r.Address, Port: uint16(port), Identity: cmp.Or(r.Identity, n.Name),
				})
			}
			p.checkPorts(path, s.ports)
		}
		if said != 1 {
			p.errorf(path, "allowed: exactly one of http, tcp, udp, sctp", "found %d protocols", said)
		}
	}
	p.checkResponders(n)
}

// maxPorts bounds the servers that one range makes: each is a socket.
const maxPorts = 1024

func (p *planner) checkPorts(path string, r PortRange) {
	if n := int(r.Last) - int(r.First) + 1; n > maxPorts {
		p.errorf(path, "allowed: at most "+itoa(maxPorts), "%d ports in one range", n)
	}
}

// checkResponders finds two servers on one socket address.
func (p *planner) checkResponders(n *node) {
	type key struct {
		proto lb.Protocol
		port  uint16
	}
	taken := map[key][]netip.Addr{}
	for _, r := range n.Responders {
		k := key{r.Transport(), r.Port}
		other, twice := taken[k]
		clash := twice && (len(other) == 0 || len(r.Addrs) == 0)
		for _, a := range r.Addrs {
			clash = clash || slices.Contains(other, a)
		}
		if clash {
			p.errorf(n.path+".serve", "one server per address and port", "two servers want port %d", r.Port)
		}
		taken[k] = append(other, r.Addrs...)
	}
}
