package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/ipvslab/ipvslab/internal/unixhttp"
	"github.com/ipvslab/ipvslab/lab/traffic"
)

// Responders asks the lab's agent what its responders have accepted.
func (l *Lab) Responders(ctx context.Context) ([]traffic.Counts, error) {
	var counts []traffic.Counts
	return counts, l.ask(ctx, http.MethodGet, "/responders", nil, &counts)
}

// Accepted asks the agent for the connections that were accepted, in order,
// from a sequence number on; zero is the beginning.
func (l *Lab) Accepted(ctx context.Context, since uint64) (traffic.AcceptLog, error) {
	var log traffic.AcceptLog
	query := url.Values{"since": {strconv.FormatUint(since, 10)}}
	return log, l.ask(ctx, http.MethodGet, "/accepted", query, &log)
}

// StopResponder makes a node's responder stop listening, as a server that is
// down. The empty protocol is every one, port zero every port.
func (l *Lab) StopResponder(ctx context.Context, node, protocol string, port uint16) error {
	return l.ask(ctx, http.MethodPost, "/stop", responderQuery(node, protocol, port), nil)
}

// StartResponder makes it listen again.
func (l *Lab) StartResponder(ctx context.Context, node, protocol string, port uint16) error {
	return l.ask(ctx, http.MethodPost, "/start", responderQuery(node, protocol, port), nil)
}

func responderQuery(node, protocol string, port uint16) url.Values {
	return url.Values{"node": {node}, "protocol": {protocol}, "port": {strconv.Itoa(int(port))}}
}

// quitTimeout bounds quitAgent; the process that holds the agent may be stopped.
const quitTimeout = time.Second

// quitAgent makes an agent that lives in some process of its own business, a Go
// test say, let go of the lab's sockets. That process is not ours to end, and
// may have ended long ago: hence no error.
func quitAgent(ctx context.Context, st *state, dir string) {
	if slices.ContainsFunc(st.Processes, func(p process) bool { return p.What == agentWhat }) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, quitTimeout)
	defer cancel()
	_ = (&Lab{plan: st.Plan, dir: dir}).ask(ctx, http.MethodPost, "/quit", nil, nil)
}

// ask sends one request to the agent, whichever process it is in.
func (l *Lab) ask(ctx context.Context, method, path string, query url.Values, result any) error {
	err := unixhttp.Request{Method: method, Path: path, Query: query}.Ask(ctx, filepath.Join(l.dir, agentSocket), result)
	var refusal unixhttp.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return fmt.Errorf("ask the agent of lab %s: %w", l.plan.Name, err)
	}
	return fmt.Errorf("ask the agent of lab %s (has it ended? its log is %s): %w", l.plan.Name, commandLog(l.dir, "agent"), err)
}
