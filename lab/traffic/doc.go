// Package traffic holds the lab's two talkers: responders, which answer with
// the name of the node they run in, and clients, which open connections on
// purpose and report each one as data.
//
// A [Host] keeps the sockets of many nodes' responders in one process. Every
// socket is opened inside an [Enter] function and belongs to that namespace
// for good (socket(2), network_namespaces(7)); it is then served from any
// thread. What a responder accepted, and from whom, is kept as the second
// witness of a distribution.
//
// A [Session] opens connections from one namespace, in order, from one event
// loop: connection i+1's first packet leaves after connection i's. [Run] is a
// session that opens, reports and closes.
//
// The package imports nothing of the lab: namespaces are passed in as
// functions, so that it can be used with any of them, or none.
package traffic

// Enter runs fn with the calling thread in some network namespace, and returns
// fn's error. Nil stands for the namespace that the process is in.
type Enter func(fn func() error) error

func (e Enter) run(fn func() error) error {
	if e == nil {
		return fn()
	}
	return e(fn)
}

// The protocols of responders and clients.
const (
	HTTP = "http"
	TCP  = "tcp"
	UDP  = "udp"
	SCTP = "sctp" // one stream of one association: sctp(7), one-to-one style
)

// isStream tells the protocols whose responder names itself at once, then
// echoes and obeys commands.
func isStream(protocol string) bool { return protocol == TCP || protocol == SCTP }
