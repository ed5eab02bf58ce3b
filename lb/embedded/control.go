package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/ipvslab/ipvslab/internal/unixhttp"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/lb/vrrp"
	"github.com/ipvslab/ipvslab/lb/vrrp/wire"
)

// Status is a director's answer to how it is.
type Status struct {
	Node    string    `json:"node"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// Event is the number of the latest event, from which to wait for the next.
	Event    uint64   `json:"event"`
	Services []string `json:"services,omitempty"`
	// Servers are the real servers that are checked.
	Servers []health.ServerState `json:"servers,omitempty"`
	// Groups are the failover groups.
	Groups []wire.Status `json:"groups,omitempty"`
	// Settled: in each group this director is active, or hears who is.
	Settled bool `json:"settled"`
	// Fault says why the table is not as it should be; empty: it is.
	Fault string `json:"fault,omitempty"`
}

// maxWait bounds how long the control socket keeps a question open.
const maxWait = time.Minute

// listen serves the control socket: JSON over HTTP.
func (d *director) listen(path string) (io.Closer, error) {
	if path == "" {
		return io.NopCloser(nil), nil
	}
	// What a killed one left; a living one keeps its own open and is just not found any more.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("clear control socket: %w", err)
	}
	listener, err := unixhttp.Listen(path)
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	server := &http.Server{Handler: d.handler()}
	go func() { _ = server.Serve(listener) }() // ends with Close
	return closer(func() error { return errors.Join(server.Close(), os.Remove(path)) }), nil
}

type closer func() error

func (c closer) Close() error { return c() }

func (d *director) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { unixhttp.Answer(w, d.status(), nil) })
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		events, err := d.events(r)
		unixhttp.Answer(w, events, err)
	})
	mux.HandleFunc("POST /config", func(w http.ResponseWriter, r *http.Request) {
		var cfg Config
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		err := decoder.Decode(&cfg)
		if err == nil {
			err = d.reload(context.WithoutCancel(r.Context()), cfg) // not to be left half done
		}
		unixhttp.Answer(w, nil, err)
	})
	return mux
}

// events answers a question for the events since a number, and waits for one
// as long as is asked.
func (d *director) events(r *http.Request) ([]Event, error) {
	since, err := strconv.ParseUint(r.FormValue("since"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("parse since: %w", err)
	}
	wait, err := time.ParseDuration(r.FormValue("wait"))
	if err != nil {
		return nil, fmt.Errorf("parse wait: %w", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(wait, maxWait))
	defer cancel()
	return d.journal.since(ctx, since), nil
}

func (d *director) status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{Node: d.config.Node, PID: os.Getpid(), Started: d.started, Event: d.journal.last()}
	for _, service := range d.config.Services {
		s.Services = append(s.Services, service.Name)
	}
	if d.fault != nil {
		s.Fault = d.fault.Error()
	}
	s.Servers = d.monitor.States()
	s.Settled = true
	if d.speaker != nil {
		s.Groups = d.speaker.Status()
		for _, g := range s.Groups {
			s.Settled = s.Settled && settled(g)
		}
	}
	return s
}

// settled tells whether it is decided who is active in a group.
func settled(g wire.Status) bool {
	heard := false
	for _, r := range g.Routers {
		heard = heard || r.PeerPriority != vrrp.Resign
	}
	return g.State == vrrp.Active.String() || g.State == vrrp.Backup.String() && heard
}
