package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ipvslab/ipvslab/internal/unixhttp"
)

// Client asks a running director on its control socket.
type Client struct {
	Socket string // Config.Control
}

// Status asks how the director is.
func (c Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.ask(ctx, http.MethodGet, "/status", nil, nil, &s)
}

// Events asks for the events after number since (0: all that are remembered).
// If there is none yet it waits for one, at most the time given and a minute;
// none is no error.
func (c Client) Events(ctx context.Context, since uint64, wait time.Duration) ([]Event, error) {
	var events []Event
	query := url.Values{"since": {strconv.FormatUint(since, 10)}, "wait": {wait.String()}}
	return events, c.ask(ctx, http.MethodGet, "/events", query, nil, &events)
}

// Await returns the first event after number since that matches. It fails when
// ctx ends, naming the latest event that it saw.
func (c Client) Await(ctx context.Context, since uint64, match func(Event) bool) (Event, error) {
	var latest Event
	for {
		events, err := c.Events(ctx, since, maxWait)
		if ctx.Err() != nil {
			return latest, fmt.Errorf("wait for an event of the director: %w; the latest is %d: %s %s %s", ctx.Err(), latest.Seq, latest.Kind, latest.To, latest.Text)
		}
		if err != nil {
			return latest, err
		}
		for _, e := range events {
			if match(e) {
				return e, nil
			}
			since, latest = e.Seq, e
		}
	}
}

// Reload puts another configuration in force. When it returns the table is
// what that says, or the error tells why not.
func (c Client) Reload(ctx context.Context, cfg Config) error {
	body, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("write director's configuration: %w", err)
	}
	return c.ask(ctx, http.MethodPost, "/config", nil, body, nil)
}

func (c Client) ask(ctx context.Context, method, path string, query url.Values, body []byte, result any) error {
	r := unixhttp.Request{Method: method, Path: path, Query: query, Body: body}
	if err := r.Ask(ctx, c.Socket, result); err != nil {
		return fmt.Errorf("ask the director at %s: %w", c.Socket, err)
	}
	return nil
}
