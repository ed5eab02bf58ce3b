package ipvsadm

import (
	"net/netip"
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
