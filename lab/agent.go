package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/unixhttp"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/topology"
)

// agent holds the sockets of a lab's responders and answers questions about
// them on a socket in the lab's directory. It is the same in this process and
// in one of its own. The methods of a nil agent do nothing.
type agent struct {
	host   *traffic.Host
	server *http.Server
}

const agentSocket = "agent.sock"

// newAgent starts the plan's responders and serves dir/agent.sock.
func newAgent(ctx context.Context, plan *topology.Plan, dir string) (*agent, error) {
	a := &agent{host: traffic.NewHost(traffic.HostOptions{})}
	if err := a.start(ctx, plan, dir); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *agent) start(ctx context.Context, plan *topology.Plan, dir string) error {
	for _, node := range plan.Nodes {
		enter := func(fn func() error) error { return netns.Do(nsName(plan.Name, node.Name), fn) }
		for _, r := range node.Responders {
			if err := ctx.Err(); err != nil {
				return err
			}
			spec := traffic.ResponderSpec{Node: node.Name, Protocol: r.Protocol, Addrs: r.Addrs, Port: r.Port, Identity: r.Identity}
			if _, err := a.host.Start(enter, spec); err != nil {
				return err
			}
		}
	}
	listener, err := unixhttp.Listen(filepath.Join(dir, agentSocket))
	if err != nil {
		return fmt.Errorf("listen on the agent's socket: %w", err)
	}
	a.server = &http.Server{Handler: a.handler()}
	go func() { _ = a.server.Serve(listener) }() // ends with close; a failure to accept shows on the other side
	return nil
}

// close stops the responders. Whatever it can't close ends with the process.
func (a *agent) close() {
	if a == nil {
		return
	}
	if a.server != nil {
		a.server.Close()
	}
	a.host.Close()
}

// handler speaks JSON over HTTP. Responders are named by the query's node,
// protocol and port.
func (a *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /responders", func(w http.ResponseWriter, _ *http.Request) {
		unixhttp.Answer(w, a.host.Counts(), nil)
	})
	mux.HandleFunc("GET /accepted", func(w http.ResponseWriter, r *http.Request) {
		since, err := strconv.ParseUint(r.FormValue("since"), 10, 64)
		unixhttp.Answer(w, a.host.Accepted(since), err)
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, r *http.Request) {
		unixhttp.Answer(w, nil, a.each(r, (*traffic.Responder).Stop))
	})
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, r *http.Request) {
		unixhttp.Answer(w, nil, a.each(r, (*traffic.Responder).Start))
	})
	mux.HandleFunc("POST /quit", func(w http.ResponseWriter, _ *http.Request) {
		unixhttp.Answer(w, nil, a.host.Close())
	})
	return mux
}

// each does something to every responder that the request names.
func (a *agent) each(r *http.Request, do func(*traffic.Responder) error) error {
	node, protocol := r.FormValue("node"), r.FormValue("protocol")
	port, err := strconv.ParseUint(r.FormValue("port"), 10, 16)
	if err != nil {
		return fmt.Errorf("parse port: %w", err)
	}
	found := a.host.Find(node, protocol, uint16(port))
	if len(found) == 0 {
		return fmt.Errorf("node %s has no responder for %s port %d", node, protocol, port)
	}
	var errs []error
	for _, responder := range found {
		errs = append(errs, do(responder))
	}
	return errors.Join(errs...)
}
