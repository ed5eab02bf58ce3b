// Package unixhttp asks and answers in JSON over HTTP on a Unix socket that
// lies in a directory of a lab: how the agent and the directors are spoken to.
//
// A socket's address holds 108 bytes (unix(7)), and the path of a directory
// may be longer: sockets are reached through a descriptor of their directory.
// The package imports nothing of ours.
package unixhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listen makes the socket at path. It stays when the listener is closed: it
// is for whoever made the directory to remove.
func Listen(path string) (net.Listener, error) {
	return viaDir(path, func(short string) (net.Listener, error) {
		l, err := net.Listen("unix", short)
		if err == nil {
			l.(*net.UnixListener).SetUnlinkOnClose(false) // its name was the short one
		}
		return l, err
	})
}

// Answer writes v, or the error with a status that says so.
func Answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked may be gone
}

// Refusal is the error of whoever was asked, in its own words. Any other error
// of [Request.Ask] tells that nobody answered.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Request is one question.
type Request struct {
	Method, Path string
	Query        url.Values
	Body         []byte
}

// longestRefusal bounds the words of a refusal, in bytes.
const longestRefusal = 64 << 10

// Ask asks on the socket, and decodes the answer into result unless that is nil.
func (r Request) Ask(ctx context.Context, socket string, result any) error {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return viaDir(socket, func(short string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", short)
			})
		},
	}
	u := url.URL{Scheme: "http", Host: "lab", Path: r.Path, RawQuery: r.Query.Encode()}
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), bytes.NewReader(r.Body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, longestRefusal)) // the status says enough
		return Refusal(strings.TrimSpace(string(text)))
	}
	if result == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(result); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// viaDir calls fn with a short name for the socket at path.
func viaDir[T any](path string, fn func(short string) (T, error)) (T, error) {
	var zero T
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return zero, err
	}
	defer dir.Close()
	return fn(filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path)))
}
