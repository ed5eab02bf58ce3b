package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
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
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return viaDir(c.Socket, func(short string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", short)
			})
		},
	}
	u := url.URL{Scheme: "http", Host: "director", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the director at %s: %w", c.Socket, err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask the director at %s: %w", c.Socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status says enough
		return fmt.Errorf("ask the director at %s: %s", c.Socket, strings.TrimSpace(string(text)))
	}
	if result == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(result); err != nil {
		return fmt.Errorf("ask the director at %s: %w", c.Socket, err)
	}
	return nil
}
