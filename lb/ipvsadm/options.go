package ipvsadm

import "fmt"

// Verb is a command of ipvsadm, the first option on its line.
type Verb uint8

// The commands.
const (
	NoVerb Verb = iota
	AddService
	EditService
	DeleteService
	Flush
	List
	AddDest
	DeleteDest
	EditDest
	SetTimeouts
	StartDaemon
	StopDaemon
	Restore
	Save
	Zero
	Help
	Version
	Check // ours: validate a rules file
)

// verbNames are the names that messages use.
var verbNames = [...]string{
	AddService: "add-service", EditService: "edit-service", DeleteService: "delete-service", Flush: "flush",
	List: "list", AddDest: "add-server", DeleteDest: "delete-server", EditDest: "edit-server",
	SetTimeouts: "set", StartDaemon: "start-daemon", StopDaemon: "stop-daemon",
	Restore: "restore", Save: "save", Zero: "zero", Help: "help", Version: "version", Check: "check",
}

// String is the command's long option without the dashes.
func (v Verb) String() string {
	if int(v) < len(verbNames) && v != NoVerb {
		return verbNames[v]
	}
	return fmt.Sprintf("Verb(%d)", uint8(v))
}

// optionID tells the options apart. Those up to lastChecked are counted and
// held against the command; their order is the order in which they are checked.
type optionID int

const (
	optNumeric optionID = iota
	optConnection
	optService
	optScheduler
	optPersistent
	optNetmask
	optServer
	optForward
	optWeight
	optUThreshold
	optLThreshold
	optMcast
	optTimeout
	optDaemon
	optStats
	optRate
	optThresholds
	optPersistentConn
	optNoSort
	optSyncID
	optExact
	optOnePacket
	optEngine
	optSchedFlags
	optMcastGroup
	optMcastPort
	optMcastTTL
	optSyncMaxlen
	optTunInfo
	optTunType
	optTunPort
	optTunNoCsum
	optTunCsum
	optTunRemCsum
	checkedOptions // how many there are

	// What stands on the command line under several names, or is not counted.
	optTCP
	optUDP
	optSCTP
	optFWMark
	optMasq
	optTunnel
	optRoute
	optSort
	optIPv6

	optVerb // optVerb + Verb is the option that names the command
)

// optionNames are the names that messages use.
var optionNames = [checkedOptions]string{
	"numeric", "connection", "service-address", "scheduler", "persistent", "netmask", "real-server",
	"forwarding-method", "weight", "u-threshold", "l-threshold", "mcast-interface", "timeout", "daemon",
	"stats", "rate", "thresholds", "persistent-conn", "nosort", "syncid", "exact", "ops", "pe", "sched-flags",
	"mcast-group", "mcast-port", "mcast-ttl", "sync-maxlen", "tun-info", "tun-type", "tun-port",
	"tun-nocsum", "tun-csum", "tun-remcsum",
}

// options is the whole vocabulary (ipvsadm(8)).
var options = []option{
	{"add-service", 'A', noArg, optVerb + optionID(AddService)},
	{"edit-service", 'E', noArg, optVerb + optionID(EditService)},
	{"delete-service", 'D', noArg, optVerb + optionID(DeleteService)},
	{"clear", 'C', noArg, optVerb + optionID(Flush)},
	{"list", 'L', noArg, optVerb + optionID(List)},
	{"list", 'l', noArg, optVerb + optionID(List)},
	{"zero", 'Z', noArg, optVerb + optionID(Zero)},
	{"add-server", 'a', noArg, optVerb + optionID(AddDest)},
	{"edit-server", 'e', noArg, optVerb + optionID(EditDest)},
	{"delete-server", 'd', noArg, optVerb + optionID(DeleteDest)},
	{"set", 0, noArg, optVerb + optionID(SetTimeouts)},
	{"help", 'h', noArg, optVerb + optionID(Help)},
	{"version", 'v', noArg, optVerb + optionID(Version)},
	{"restore", 'R', noArg, optVerb + optionID(Restore)},
	{"save", 'S', noArg, optVerb + optionID(Save)},
	{"check", 0, noArg, optVerb + optionID(Check)},
	{"start-daemon", 0, needArg, optVerb + optionID(StartDaemon)},
	{"stop-daemon", 0, needArg, optVerb + optionID(StopDaemon)},
	{"tcp-service", 't', needArg, optTCP},
	{"udp-service", 'u', needArg, optUDP},
	{"sctp-service", 0, needArg, optSCTP},
	{"fwmark-service", 'f', needArg, optFWMark},
	{"scheduler", 's', needArg, optScheduler},
	{"persistent", 'p', mayArg, optPersistent},
	{"netmask", 'M', needArg, optNetmask},
	{"real-server", 'r', needArg, optServer},
	{"masquerading", 'm', noArg, optMasq},
	{"ipip", 'i', noArg, optTunnel},
	{"gatewaying", 'g', noArg, optRoute},
	{"weight", 'w', needArg, optWeight},
	{"u-threshold", 'x', needArg, optUThreshold},
	{"l-threshold", 'y', needArg, optLThreshold},
	{"numeric", 'n', noArg, optNumeric},
	{"connection", 'c', noArg, optConnection},
	{"mcast-interface", 0, needArg, optMcast},
	{"syncid", 0, needArg, optSyncID},
	{"timeout", 0, noArg, optTimeout},
	{"daemon", 0, noArg, optDaemon},
	{"stats", 0, noArg, optStats},
	{"rate", 0, noArg, optRate},
	{"thresholds", 0, noArg, optThresholds},
	{"persistent-conn", 0, noArg, optPersistentConn},
	{"nosort", 0, noArg, optNoSort},
	{"sort", 0, noArg, optSort},
	{"exact", 'X', noArg, optExact},
	{"ipv6", '6', noArg, optIPv6},
	{"ops", 'o', noArg, optOnePacket},
	{"pe", 0, needArg, optEngine},
	{"sched-flags", 'b', needArg, optSchedFlags},
	{"mcast-group", 0, needArg, optMcastGroup},
	{"mcast-port", 0, needArg, optMcastPort},
	{"mcast-ttl", 0, needArg, optMcastTTL},
	{"sync-maxlen", 0, needArg, optSyncMaxlen},
	{"tun-info", 0, noArg, optTunInfo},
	{"tun-type", 0, needArg, optTunType},
	{"tun-port", 0, needArg, optTunPort},
	{"tun-nocsum", 0, noArg, optTunNoCsum},
	{"tun-csum", 0, noArg, optTunCsum},
	{"tun-remcsum", 0, noArg, optTunRemCsum},
}

// optionSet is a set of the counted options.
type optionSet uint64

func setOf(ids ...optionID) (s optionSet) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

func (s optionSet) has(id optionID) bool        { return s&(1<<id) != 0 }
func (s optionSet) hasAny(ids ...optionID) bool { return s&setOf(ids...) != 0 }

// rule says which options go with a command or a tunnel type. Options in none
// of the sets are refused; of the exclusive ones at most one may be given.
type rule struct{ required, optional, exclusive optionSet }

var (
	destOptions = setOf(optForward, optWeight, optUThreshold, optLThreshold,
		optTunType, optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum)
	serviceOptions = setOf(optScheduler, optPersistent, optNetmask, optOnePacket, optEngine, optSchedFlags)
)

// verbRules are the options that go with each command (ipvsadm(8) and the program's own checks).
var verbRules = map[Verb]rule{
	AddService:    {required: setOf(optService), optional: serviceOptions},
	EditService:   {required: setOf(optService), optional: serviceOptions},
	DeleteService: {required: setOf(optService)},
	Flush:         {},
	List: {
		exclusive: setOf(optConnection, optService, optTimeout, optDaemon),
		optional: setOf(optNumeric, optStats, optRate, optThresholds, optPersistentConn, optNoSort,
			optSyncID, optExact, optTunInfo),
	},
	AddDest:     {required: setOf(optService, optServer), optional: destOptions},
	DeleteDest:  {required: setOf(optService, optServer)},
	EditDest:    {required: setOf(optService, optServer), optional: destOptions},
	SetTimeouts: {},
	StartDaemon: {optional: setOf(optMcast, optSyncID, optMcastGroup, optMcastPort, optMcastTTL, optSyncMaxlen)},
	StopDaemon:  {optional: setOf(optSyncID)},
	Restore:     {},
	Save:        {optional: setOf(optNumeric)},
	Zero:        {optional: setOf(optService)},
}

// tunnelOptions are the options that tunnelRules speak of, in the order of their checks.
var tunnelOptions = []optionID{optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum}

// check holds the options that were given against the rule. What is "the
// 'list' command" or "the 'gue' tunnel type", for the message.
func (r rule) check(given optionSet, among []optionID, what string) error {
	last := optionID(-1)
	for _, id := range among {
		switch {
		case !given.has(id):
			if r.required.has(id) {
				return usage("You need to supply the '%s' option for %s", optionNames[id], what)
			}
		case r.exclusive.has(id):
			if last >= 0 {
				return usage("The option '%s' conflicts with the '%s' option in %s",
					optionNames[id], optionNames[last], what)
			}
			last = id
		case !r.required.has(id) && !r.optional.has(id):
			return usage("Illegal '%s' option with %s", optionNames[id], what)
		}
	}
	return nil
}

// allChecked is every counted option, in order.
var allChecked = func() []optionID {
	ids := make([]optionID, checkedOptions)
	for i := range ids {
		ids[i] = optionID(i)
	}
	return ids
}()
