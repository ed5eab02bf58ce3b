// Package capture takes packets off a node's interface, in both directions,
// and makes them evidence: small comparable values that a test can look
// through, lines like tcpdump's, and pcapng files.
//
// What a [Capture] returns at any call holds every packet that the interface
// had handled before the call: the socket's queue is emptied first, under the
// same lock. What the kernel had to drop is counted and is an error at the
// end, [ErrLost]; it is never silent.
//
// The package imports nothing of the lab: the namespace is passed in as a
// function. The socket stays in the namespace it was opened in.
package capture

// Enter runs fn with the calling thread in some network namespace, and returns
// fn's error. Nil stands for the namespace that the process is in.
type Enter func(fn func() error) error

func (e Enter) run(fn func() error) error {
	if e == nil {
		return fn()
	}
	return e(fn)
}
