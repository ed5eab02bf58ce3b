package probe

import "slices"

// Names of features that stand alone. The others are a kind, a colon and what
// it is: "link:veth", "sched:wrr", "qdisc:netem", "nftables:ip",
// "iptables:ip", "socket:packet", "filesystem:overlay".
const (
	IPVS          = "ipvs"                // the kernel has it and lets this process set it
	NetAdmin      = "privilege:net-admin" // CAP_NET_ADMIN in the initial user namespace
	SysAdmin      = "privilege:sys-admin" // CAP_SYS_ADMIN in the initial user namespace
	SkbEdit       = "tc:skbedit"          // firewall marks by traffic control
	Ptrace        = "ptrace"              // a child may be traced: what user-mode Linux stands on
	KVM           = "kvm"                 // never yes: only a probe boot can tell
	UserNamespace = "userns"              // this process may make a user namespace
	Mounts        = "mounts"              // this process may mount, if need be in a user namespace of its own
	TmpExec       = "tmp:exec"            // a temporary directory whose files may be executed
)

// Schedulers are IPVS's schedulers as ip_vs(4) modules name them. A kernel may
// lack any; twos is compiled out of Debian's.
var Schedulers = []string{"rr", "wrr", "lc", "wlc", "sed", "nq", "lblc", "lblcr", "dh", "sh", "mh", "fo", "ovf", "twos"}

// LinkTypes are the link types that a topology can ask for. "fou" stands for
// the receive port of generic UDP encapsulation, also used by gue.
var LinkTypes = []string{"veth", "bridge", "dummy", "ipip", "sit", "ip6tnl", "gre", "ip6gre", "fou"}

// Link is the name of the feature "links of this type".
func Link(kind string) string { return "link:" + kind }

// Scheduler is the name of the feature "this IPVS scheduler".
func Scheduler(name string) string { return "sched:" + name }

// All are the features that Probe tries, in the order in which a person
// wants to read them.
func All() []string {
	names := []string{NetAdmin, SysAdmin, IPVS}
	for _, s := range Schedulers {
		names = append(names, Scheduler(s))
	}
	for _, l := range LinkTypes {
		names = append(names, Link(l))
	}
	return slices.Concat(names, []string{
		"qdisc:netem", SkbEdit, "nftables:ip", "nftables:ip6", "iptables:ip", "iptables:ip6",
		"socket:packet", "socket:sctp", "filesystem:overlay",
		Ptrace, UserNamespace, Mounts, TmpExec, KVM,
	})
}

// The remedies of the failure modes no-ipvs-kernel and scheduler-missing.
const (
	remedyGuest     = ", or use a guest kernel (--kernel auto)" // the way out of most of them
	remedyIPVS      = "load it as root (modprobe ip_vs)" + remedyGuest
	remedyScheduler = "load it as root (modprobe ip_vs_%s), pick another scheduler, or use a guest kernel that has it"
	remedyPrivilege = "run as root" + remedyGuest
	remedyModule    = "load it as root (modprobe %s)" + remedyGuest
)
