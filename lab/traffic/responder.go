package traffic

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// ResponderSpec says what answers where.
type ResponderSpec struct {
	Node     string       `json:"node"`
	Protocol string       `json:"protocol"`        // HTTP, TCP, UDP or SCTP
	Addrs    []netip.Addr `json:"addrs,omitempty"` // empty: any address, both families
	Port     uint16       `json:"port"`
	Identity string       `json:"identity"` // what it answers with; empty: Node
}

// Counts are what a responder has seen since it was made; stopping keeps them.
type Counts struct {
	ResponderSpec
	Running bool `json:"running"`
	// Accepted counts connections, and for UDP datagrams.
	Accepted uint64 `json:"accepted"`
	// Requests counts HTTP requests; with keep-alive it exceeds Accepted.
	Requests uint64 `json:"requests,omitempty"`
}

// Responder is one running (or stopped) server.
type Responder struct {
	spec  ResponderSpec
	enter Enter
	log   *acceptLog

	accepted, requests atomic.Uint64

	mu     sync.Mutex
	server io.Closer // nil while stopped
}

// Spec says what the responder is.
func (r *Responder) Spec() ResponderSpec { return r.spec }

// Counts reads the counters.
func (r *Responder) Counts() Counts {
	r.mu.Lock()
	running := r.server != nil
	r.mu.Unlock()
	return Counts{
		ResponderSpec: r.spec, Running: running,
		Accepted: r.accepted.Load(), Requests: r.requests.Load(),
	}
}

// Start opens the sockets again after [Responder.Stop]; on a running responder
// it does nothing.
func (r *Responder) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server != nil {
		return nil
	}
	server, err := r.open()
	if err != nil {
		return err
	}
	r.server = server
	return nil
}

// Stop closes the listening sockets and every connection, as the death of a
// server process would; a client's SYN is then answered with RST. It returns
// when nothing is accepted any more.
func (r *Responder) Stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return nil
	}
	err := r.server.Close()
	r.server = nil
	if err != nil {
		return fmt.Errorf("stop %s: %w", r, err)
	}
	return nil
}

// String names the responder, such as "rs1 http :80".
func (r *Responder) String() string {
	return r.spec.Node + " " + r.spec.Protocol + " :" + strconv.Itoa(int(r.spec.Port))
}

func (r *Responder) open() (io.Closer, error) {
	addrs := r.spec.Addrs
	if len(addrs) == 0 {
		addrs = []netip.Addr{anyAddr}
	}
	switch r.spec.Protocol {
	case HTTP:
		ls, err := openAll(r, addrs, listenTCP)
		if err != nil {
			return nil, err
		}
		return serveHTTP(r, ls), nil
	case TCP:
		ls, err := openAll(r, addrs, listenTCP)
		if err != nil {
			return nil, err
		}
		return serveTCP(r, ls), nil
	case SCTP:
		ls, err := openAll(r, addrs, listenSCTP)
		if err != nil {
			return nil, err
		}
		return serveTCP(r, ls), nil
	case UDP:
		cs, err := openAll(r, addrs, listenUDP)
		if err != nil {
			return nil, err
		}
		return serveUDP(r, cs)
	}
	return nil, fmt.Errorf("start responder of %s: unknown protocol %q (known: %s, %s, %s, %s)",
		r.spec.Node, r.spec.Protocol, HTTP, TCP, UDP, SCTP)
}

// openAll opens one socket per address inside the namespace, all or none.
func openAll[S io.Closer](r *Responder, addrs []netip.Addr, open func(netip.Addr, uint16) (S, error)) ([]S, error) {
	var sockets []S
	err := r.enter.run(func() error {
		for _, a := range addrs {
			s, err := open(a, r.spec.Port)
			if err != nil {
				return fmt.Errorf("start responder of node %s: %s %s: %w",
					r.spec.Node, r.spec.Protocol, bindName(a, r.spec.Port), err)
			}
			sockets = append(sockets, s)
		}
		return nil
	})
	if err != nil {
		errs := []error{err}
		for _, s := range sockets {
			errs = append(errs, s.Close())
		}
		return nil, errors.Join(errs...)
	}
	return sockets, nil
}

func bindName(a netip.Addr, port uint16) string {
	host := "*"
	if a != anyAddr {
		host = a.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// witness notes an acceptance, before the client can have got any answer.
func (r *Responder) witness(local, remote netip.AddrPort) {
	r.accepted.Add(1)
	r.log.add(Accepted{
		Time: time.Now(), Node: r.spec.Node, Protocol: r.spec.Protocol, Identity: r.spec.Identity,
		Local: unmap(local), Remote: unmap(remote),
	})
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// witnessed is a listener that notes each connection it hands out.
type witnessed struct {
	*net.TCPListener
	r *Responder
}

// Accept implements net.Listener. Running out of files or memory is waited
// out: a responder doesn't die of too many connections.
func (l witnessed) Accept() (net.Conn, error) {
	c, err := l.acceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (l witnessed) acceptTCP() (*net.TCPConn, error) {
	for {
		c, err := l.AcceptTCP()
		if err == nil {
			l.r.witness(c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort())
			return c, nil
		}
		if !outOfResources(err) {
			return nil, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}
