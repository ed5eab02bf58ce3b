package ipvsadm

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lb"
)

const (
	maxTimeout         = 86400 * 31 // seconds
	defaultPersistence = 360        // seconds; -p alone (ip_vs.h, IP_VS_SVC_F_PERSISTENT)
	defaultScheduler   = "wlc"
	defaultInterface   = "eth0"
)

// Field lengths of include/uapi/linux/ip_vs.h; longer arguments are cut.
const (
	maxSchedulerName = 15
	maxEngineName    = 16
	maxInterfaceName = 15
	maxSchedFlags    = 127 // of the program's own
)

// Parse understands a command line; argv[0] is the program's name, as it is to
// stand in messages. names may be nil. The error is a *UsageError.
func Parse(argv []string, names Names) (Command, error) {
	program := "ipvsadm"
	if len(argv) > 0 {
		program, argv = argv[0], argv[1:]
	}
	if names == nil {
		names = NoNames{}
	}
	p := parser{scanner: scanner{argv: argv}, names: names, mask: oneAddress, maskBits: 128}
	p.cmd.Dest = lb.Destination{Forward: lb.DR, Weight: 1}
	if err := p.verb(program); err != nil {
		return p.cmd, err
	}
	if p.cmd.Verb == Help || p.cmd.Verb == Version {
		return p.cmd, nil
	}
	for {
		id, more, complaint := p.scan()
		if complaint != "" {
			return p.cmd, &UsageError{Status: statusKernel, Message: p.word() + ": " + complaint}
		}
		if !more {
			break
		}
		if err := p.option(id); err != nil {
			return p.cmd, err
		}
	}
	return p.cmd, p.finish()
}

// parser holds what is known halfway through a line. Options act at once and
// in order, as in the original, so that an error is the first one from the left.
type parser struct {
	scanner
	names Names
	cmd   Command
	given optionSet

	mask       netip.Addr // of an IPv4 service
	maskBits   int64      // of an IPv6 service
	persistent bool
	timeout    int64
	schedFlags string
}

// verb reads the first option, which must be a command.
func (p *parser) verb(program string) error {
	id, more, complaint := p.scan()
	if !more || complaint != "" || id < optVerb {
		return tryHelp(program)
	}
	p.cmd.Verb = Verb(id - optVerb)
	switch p.cmd.Verb {
	case StartDaemon, StopDaemon:
		role, ok := map[string]lb.SyncRole{"master": lb.SyncMaster, "backup": lb.SyncBackup}[p.arg]
		if !ok && p.cmd.Verb == StartDaemon {
			return usage("illegal start-daemon parameter specified")
		}
		if !ok {
			return usage("illegal start_daemon specified")
		}
		p.cmd.Daemon.Role = role
	}
	return nil
}

// give counts an option; most may be given once only.
func (p *parser) give(id optionID) error {
	if p.given.has(id) {
		return usage("multiple '%s' options specified", optionNames[id])
	}
	p.given |= setOf(id)
	return nil
}

// counted is the option under which one with several spellings is counted.
func counted(id optionID) optionID {
	switch id {
	case optTCP, optUDP, optSCTP, optFWMark:
		return optService
	case optMasq, optTunnel, optRoute:
		return optForward
	}
	return id
}

// option takes one option after the command.
func (p *parser) option(id optionID) error {
	if id == optVerb+optionID(Check) && p.cmd.Verb == Restore {
		p.cmd.Checked = true
		return nil
	}
	if id >= optVerb {
		return usage("invalid option `%s'", p.word())
	}
	if c := counted(id); c < checkedOptions {
		if err := p.give(c); err != nil {
			return err
		}
	}
	switch id {
	case optTCP, optUDP, optSCTP, optFWMark, optIPv6, optScheduler, optPersistent, optNetmask,
		optOnePacket, optEngine, optSchedFlags:
		return p.serviceOption(id)
	case optServer, optMasq, optTunnel, optRoute, optWeight, optUThreshold, optLThreshold,
		optTunType, optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum:
		return p.destOption(id)
	case optMcast, optSyncID, optMcastGroup, optMcastPort, optMcastTTL, optSyncMaxlen:
		return p.daemonOption(id)
	}
	p.listOption(id)
	return nil
}

// listOption takes the options of a listing; none has an argument.
func (p *parser) listOption(id optionID) {
	f := &p.cmd.Format
	switch id {
	case optNumeric:
		f.Numeric = true
	case optStats:
		f.Stats = true
	case optRate:
		f.Rate = true
	case optThresholds:
		f.Thresholds = true
	case optPersistentConn:
		f.PersistentConn = true
	case optTunInfo:
		f.TunInfo = true
	case optNoSort:
		f.NoSort = true
	case optExact:
		f.Exact = true
	case optConnection:
		p.cmd.Subject = OfConnections
	case optTimeout:
		p.cmd.Subject = OfTimeouts
	case optDaemon:
		p.cmd.Subject = OfDaemons
	case optSort: // the default; does nothing
	}
}

func (p *parser) serviceOption(id optionID) error {
	s := &p.cmd.Service
	switch id {
	case optTCP, optUDP, optSCTP:
		return p.virtualService(map[optionID]lb.Protocol{optTCP: lb.TCP, optUDP: lb.UDP, optSCTP: lb.SCTP}[id])
	case optFWMark:
		mark, ok := parseNumber(p.arg, 1, math.MaxUint32)
		if !ok {
			return usage("invalid fwmark value `%s' specified", p.arg)
		}
		s.Key = lb.MarkKey(uint32(mark), lb.IPv4)
	case optIPv6:
		if s.FWMark == 0 {
			return usage("-6 used before -f\n")
		}
		s.Family, p.maskBits = lb.IPv6, 128
	case optScheduler:
		s.Scheduler = cut(p.arg, maxSchedulerName)
	case optPersistent:
		p.persistent = true
		return p.persistence()
	case optNetmask:
		return p.netmask()
	case optOnePacket:
		s.Flags |= lb.OnePacket
	case optEngine:
		s.Engine = cut(p.arg, maxEngineName)
	case optSchedFlags:
		p.schedFlags = cut(p.arg, maxSchedFlags)
	}
	return nil
}

func (p *parser) virtualService(proto lb.Protocol) error {
	e, ok := parseEndpoint(p.arg, proto, p.names)
	if !ok {
		return usage("illegal virtual server address[:port] specified")
	}
	p.cmd.Service.Key = lb.Key{Protocol: proto, Addr: e.addr, Port: e.port, Family: e.family}
	p.maskBits = 128
	return nil
}

func (p *parser) persistence() error {
	p.timeout = defaultPersistence
	if !p.hasArg {
		return nil
	}
	var err error
	p.timeout, err = parseTimeout(p.arg, 1)
	return err
}

func parseTimeout(s string, low int64) (int64, error) {
	n, ok := parseNumber(s, low, maxTimeout)
	if !ok {
		return 0, usage("invalid timeout value `%s' specified", s)
	}
	return n, nil
}

// netmask takes an address mask, or a prefix length if the service is known
// to be an IPv6 one by now.
func (p *parser) netmask() error {
	if p.cmd.Service.Family == lb.IPv6 {
		n := leadingInt(p.arg)
		if n < 1 || n > 128 {
			return usage("illegal ipv6 netmask specified")
		}
		p.maskBits = n
		return nil
	}
	a, ok := parseIPv4OrName(p.arg, p.names)
	if !ok {
		return usage("illegal virtual server persistent mask specified")
	}
	p.mask = a
	return nil
}

func (p *parser) destOption(id optionID) error {
	d := &p.cmd.Dest
	switch id {
	case optServer:
		return p.realServer()
	case optMasq:
		d.Forward = lb.NAT
	case optTunnel:
		d.Forward = lb.TUN
	case optRoute:
		d.Forward = lb.DR
	case optWeight:
		n, err := p.number("weight", 0, math.MaxInt32)
		d.Weight = int32(n)
		return err
	case optUThreshold:
		n, err := p.number("u_threshold", 0, math.MaxInt32)
		d.Upper = uint32(n)
		return err
	case optLThreshold:
		n, err := p.number("l_threshold", 0, math.MaxInt32)
		d.Lower = uint32(n)
		return err
	case optTunType:
		t, ok := map[string]lb.TunnelType{"ipip": lb.IPIP, "gue": lb.GUE, "gre": lb.GRE}[p.arg]
		if !ok {
			return usage("illegal tunnel type specified")
		}
		d.Tunnel.Type = t
	case optTunPort:
		n, err := p.number("tunnel port", 1, math.MaxUint16)
		d.Tunnel.Port = uint16(n)
		return err
	case optTunCsum:
		d.Tunnel.Flags |= encapChecksum
	case optTunRemCsum:
		d.Tunnel.Flags |= encapRemoteChecksum
	case optTunNoCsum: // flag 0
	}
	return nil
}

// Tunnel flags (IP_VS_TUNNEL_ENCAP_FLAG_*, include/uapi/linux/ip_vs.h).
const (
	encapChecksum       = 1
	encapRemoteChecksum = 2
)

// realServer takes -r. A port that isn't given is the service's, if that is known by now.
func (p *parser) realServer() error {
	e, ok := parseEndpoint(p.arg, p.protocol(), p.names)
	if !ok {
		return usage("illegal real server address[:port] specified")
	}
	p.cmd.Dest.DestKey = lb.DestKey{Addr: e.addr, Port: e.port}
	if !e.hasPort {
		p.cmd.Dest.Port = p.cmd.Service.Port
	}
	return nil
}

// protocol is the one in which service names are looked up; a firewall mark counts as TCP.
func (p *parser) protocol() lb.Protocol {
	if p.cmd.Service.FWMark != 0 {
		return lb.TCP
	}
	return p.cmd.Service.Protocol
}

// number reads the option's argument; what names it in the message.
func (p *parser) number(what string, low, high int64) (int64, error) {
	n, ok := parseNumber(p.arg, low, high)
	if !ok {
		return 0, usage("illegal %s specified", what)
	}
	return n, nil
}

func (p *parser) daemonOption(id optionID) error {
	d := &p.cmd.Daemon
	var n int64
	var err error
	switch id {
	case optMcast:
		d.Interface = cut(p.arg, maxInterfaceName)
	case optSyncID:
		n, err = p.number("syncid", 0, math.MaxUint8)
		d.ID = uint32(n)
	case optMcastGroup:
		return p.mcastGroup()
	case optMcastPort:
		n, err = p.number("mcast-port", 1, math.MaxUint16)
		d.Port = uint16(n)
	case optMcastTTL:
		n, err = p.number("mcast-ttl", 1, math.MaxUint8)
		d.TTL = uint8(n)
	case optSyncMaxlen:
		n, err = p.number("sync-maxlen", 1, math.MaxUint16-20-8)
		d.MaxLen = uint16(n)
	}
	return err
}

func (p *parser) mcastGroup() error {
	a, err := netip.ParseAddr(p.arg)
	version := 4
	if strings.Contains(p.arg, ":") {
		version = 6
	}
	if err != nil || a.Zone() != "" || a.Is4() != (version == 4) || a.Is4In6() || !a.IsMulticast() {
		return usage("invalid IPv%d mcast-group `%s'", version, p.arg)
	}
	p.cmd.Daemon.Group = a
	return nil
}

// finish makes the checks that need the whole line.
func (p *parser) finish() error {
	if p.cmd.Verb == SetTimeouts {
		if err := p.timeouts(); err != nil {
			return err
		}
	}
	if p.cmd.Verb == Check && len(p.operands) > 0 {
		p.cmd.File, p.operands = p.operands[0], p.operands[1:]
	}
	if len(p.operands) > 0 {
		return usage("unexpected argument %s", p.operands[0])
	}
	if p.schedFlags != "" {
		flags, err := parseSchedFlags(p.cmd.Service.Scheduler, p.schedFlags)
		if err != nil {
			return err
		}
		p.cmd.Service.Flags |= flags
	}
	if err := verbRules[p.cmd.Verb].check(p.given, allChecked, "the '"+p.cmd.Verb.String()+"' command"); err != nil {
		return err
	}
	return p.complete()
}

// timeouts takes the three operands of --set.
func (p *parser) timeouts() error {
	if len(p.operands) < 3 {
		return usage("--set option requires 3 timeout values")
	}
	t := &p.cmd.Timeouts
	for i, to := range []*time.Duration{&t.TCP, &t.TCPFin, &t.UDP} {
		n, err := parseTimeout(p.operands[i], 0)
		if err != nil {
			return err
		}
		*to = time.Duration(n) * time.Second
	}
	p.operands = p.operands[3:]
	return nil
}

// complete fills in defaults and makes the checks that are particular to a command.
func (p *parser) complete() error {
	c := &p.cmd
	c.HasService = p.given.has(optService)
	switch c.Verb {
	case AddService, EditService:
		return p.completeService()
	case AddDest, EditDest:
		return p.completeDest()
	case StartDaemon:
		if c.Daemon.Interface == "" {
			c.Daemon.Interface = defaultInterface
		}
	case Save:
		c.Format.Rule = true
	case List:
		other := p.given.hasAny(optTimeout, optDaemon)
		if (other || p.given.has(optConnection)) && p.given.hasAny(optStats, optRate, optThresholds) ||
			other && p.given.has(optPersistentConn) {
			return usage("options conflicts in the list command")
		}
	}
	return nil
}

func (p *parser) completeService() error {
	s := &p.cmd.Service
	if s.FWMark == 0 && s.Port == 0 && !p.persistent {
		return usage("Zero port specified for non-persistent service")
	}
	if s.Flags&lb.OnePacket != 0 && s.FWMark == 0 && s.Protocol != lb.UDP {
		return usage("One-Packet Scheduling is only for UDP virtual services")
	}
	if s.Scheduler == "" {
		s.Scheduler = defaultScheduler
	}
	if p.persistent {
		s.Timeout = time.Duration(p.timeout) * time.Second
		if s.Family == lb.IPv6 {
			s.MaskBits = uint8(p.maskBits % 128) // zero: one address
		} else {
			s.SetMask4(p.mask)
		}
	}
	return nil
}

func (p *parser) completeDest() error {
	s, d := &p.cmd.Service, &p.cmd.Dest
	if s.FWMark == 0 && d.Forward != lb.NAT {
		d.Port = s.Port
	}
	if d.Forward != lb.TUN {
		if addrFamily(d.Addr) != s.Family {
			return usage("Different address family is allowed only for tunneling servers")
		}
		if p.given.hasAny(append(tunnelOptions, optTunType)...) {
			return usage("Tunnel options conflict with forward method")
		}
	}
	rules, name := tunnelRules(d.Tunnel.Type)
	return rules.check(p.given, tunnelOptions, "the '"+name+"' tunnel type")
}

// tunnelRules are the options that go with a tunnel type, and its name.
func tunnelRules(t lb.TunnelType) (rule, string) {
	switch t {
	case lb.GUE:
		return rule{required: setOf(optTunPort), exclusive: setOf(optTunNoCsum, optTunCsum, optTunRemCsum)}, "gue"
	case lb.GRE:
		return rule{exclusive: setOf(optTunNoCsum, optTunCsum)}, "gre"
	}
	return rule{}, "ipip"
}

// addrFamily takes an IPv4-mapped address for an IPv6 one, as the kernel does.
func addrFamily(a netip.Addr) lb.Family {
	if a.Is4() {
		return lb.IPv4
	}
	return lb.IPv6
}
