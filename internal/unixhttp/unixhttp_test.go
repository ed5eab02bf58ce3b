package unixhttp_test

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipvslab/ipvslab/internal/unixhttp"
)

// A question and its answer, on a socket whose path no address can hold.
func TestAsk(t *testing.T) {
	socket := filepath.Join(t.TempDir(), strings.Repeat("d", 120), "sock")
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := unixhttp.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /double", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("of") != "ab" {
			unixhttp.Answer(w, nil, errors.New("can't double that"))
			return
		}
		unixhttp.Answer(w, "abab", nil)
	})
	server := &http.Server{Handler: mux}
	t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve(l) }()

	ask := unixhttp.Request{Method: http.MethodPost, Path: "/double", Query: url.Values{"of": {"ab"}}}
	var got string
	if err := ask.Ask(t.Context(), socket, &got); err != nil || got != "abab" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := ask.Ask(t.Context(), socket, new(int)); err == nil || errors.As(err, new(unixhttp.Refusal)) {
		t.Errorf("an answer of another kind: %v", err)
	}
	ask.Query.Set("of", "c")
	var refusal unixhttp.Refusal
	if err := ask.Ask(t.Context(), socket, nil); !errors.As(err, &refusal) || refusal != "can't double that" {
		t.Errorf("refused: %v", err)
	}

	server.Close()
	if _, err := os.Stat(socket); err != nil {
		t.Errorf("the socket went with its listener: %v", err)
	}
	if err := ask.Ask(t.Context(), socket, nil); err == nil || errors.As(err, &refusal) {
		t.Errorf("nobody listens: %v", err)
	}
	if err := ask.Ask(t.Context(), filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
}
