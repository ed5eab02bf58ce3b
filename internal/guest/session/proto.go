// Package session runs commands at the other end of a byte stream: argument
// vector, environment, directory, standard streams, terminal, signals and exit
// status, several commands at once.
//
// The stream is divided with yamux. A command has one yamux stream for
// control (a [Request], then frames: output, exit status one way, signals and window
// sizes the other) and, if it has an input, a second one for that, so
// that a command that does not read cannot hold up a signal.
//
// The package knows nothing of guests: it must not import the launchers, the
// supervisor or the sandbox.
package session

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// Request is the first frame of every stream.
type Request struct {
	Kind Kind   `json:"kind"`
	ID   string `json:"id,omitempty"` // of the command: links its two streams
	// Command is what to run, when Kind is Run.
	Command *Spec `json:"command,omitempty"`
	// Config is for Configure.
	Config json.RawMessage `json:"config,omitempty"`
}

// Kind says what a stream is for.
type Kind string

// The kinds of stream.
const (
	Run       Kind = "run"
	Input     Kind = "input"
	Configure Kind = "configure" // answered by one Answer when the configuration is in force
	Ask       Kind = "ask"       // answered by one Answer with State
)

// Spec is a command as it travels.
type Spec struct {
	Argv  []string `json:"argv"`
	Env   []string `json:"env"`
	Dir   string   `json:"dir"`
	Input bool     `json:"input,omitempty"` // a second stream carries the input; else it is empty
	TTY   *Window  `json:"tty,omitempty"`   // run it on a terminal of this size

	// Path is the file to execute, if not the one that Argv[0] names; for Server.Adjust.
	Path string `json:"-"`
}

// Window is the size of a terminal in characters.
type Window struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Answer answers Configure and Ask.
type Answer struct {
	Error string          `json:"error,omitempty"`
	State json.RawMessage `json:"state,omitempty"`
}

// exit is the last frame of a command.
type exit struct {
	Status int    `json:"status"`          // 128 plus the signal for a killed command
	Error  string `json:"error,omitempty"` // why it could not be started
}

// Frame types.
const (
	frameRequest byte = 'R'
	frameOut     byte = 'o'
	frameErr     byte = 'e'
	frameExit    byte = 'x'
	frameSignal  byte = 's'
	frameWindow  byte = 'w'
	frameAnswer  byte = 'a'
)

// maxFrame bounds a frame; a longer one is a broken stream. An environment may be long.
const maxFrame = 8 << 20

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	b := make([]byte, 5, 5+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

func writeJSON(w io.Writer, kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	return writeFrame(w, kind, b)
}

func readFrame(r io.Reader) (byte, []byte, error) {
	var h [5]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(h[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("read frame: %d bytes announced, at most %d allowed", n, maxFrame)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, nil, fmt.Errorf("read frame: %w", err)
	}
	return h[0], b, nil
}

func readJSON(r io.Reader, kind byte, v any) error {
	got, b, err := readFrame(r)
	if err != nil {
		return err
	}
	if got != kind {
		return fmt.Errorf("read frame: got type %q, not %q", got, kind)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode frame: %w", err)
	}
	return nil
}

// muxConfig suits a slow and reliable line: it is never given up for being slow.
func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = 24 * time.Hour
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = 24 * time.Hour
	c.LogOutput = io.Discard
	return c
}
