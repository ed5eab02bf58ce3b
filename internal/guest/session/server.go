package session

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
)

// past is a deadline that has been missed.
var past = time.Unix(1, 0)

// Server is the side that runs commands.
type Server struct {
	// Configure puts a configuration in force; nil: there is none.
	Configure func(json.RawMessage) error
	// Ready is waited for before a command is started, if not nil; its error refuses the command.
	Ready func() error
	// State answers Ask.
	State func() (any, error)
	// Flush is called between a command's end and the report of it, if not nil.
	Flush func()
	// Adjust may change a command before it is started, if not nil.
	Adjust func(*Spec)
	// Start starts processes; nil: as os.StartProcess does.
	Start Starter
	// HangupGrace is the time between SIGHUP and SIGKILL when a client went away; zero: 3 s.
	HangupGrace time.Duration

	mu     sync.Mutex
	inputs map[string]chan net.Conn // by command; nil: the command has ended and its input is still to come
}

// Serve serves conn until it ends.
func (s *Server) Serve(conn io.ReadWriteCloser) error {
	mux, err := yamux.Server(conn, muxConfig())
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	defer mux.Close()
	for {
		stream, err := mux.Accept()
		if err != nil {
			return fmt.Errorf("accept stream: %w", err)
		}
		go s.stream(stream)
	}
}

func (s *Server) stream(c net.Conn) {
	var r Request
	if err := readJSON(c, frameRequest, &r); err != nil {
		c.Close()
		return
	}
	switch r.Kind {
	case Run:
		if r.Command != nil {
			s.run(c, r.ID, *r.Command)
		}
	case Input:
		s.handOver(r.ID, c)
		return
	case Configure:
		var a Answer
		if err := s.Configure(r.Config); err != nil {
			a.Error = err.Error()
		}
		_ = writeJSON(c, frameAnswer, a) // the asker may be gone
	case Ask:
		var a Answer
		state, err := s.State()
		if err == nil {
			a.State, err = json.Marshal(state)
		}
		if err != nil {
			a = Answer{Error: err.Error()}
		}
		_ = writeJSON(c, frameAnswer, a)
	}
	c.Close()
}

// input is where the two streams of a command meet, whichever comes first. The
// one stream that comes through it is followed by its end.
func (s *Server) input(id string) chan net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meeting(id)
}

func (s *Server) meeting(id string) chan net.Conn {
	if s.inputs == nil {
		s.inputs = map[string]chan net.Conn{}
	}
	ch, known := s.inputs[id]
	if !known {
		ch = make(chan net.Conn, 1)
		s.inputs[id] = ch
	}
	return ch
}

// handOver gives a command its input, or closes it if the command has ended.
func (s *Server) handOver(id string, c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.meeting(id)
	if ch == nil {
		delete(s.inputs, id)
		c.Close()
		return
	}
	ch <- c // the only one
	close(ch)
}

// settle sees that the input of a command that has ended is closed: one that
// stayed open would keep a relay waiting for ever.
func (s *Server) settle(id string, ch chan net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case c, unread := <-ch:
		if unread {
			c.Close()
		}
		delete(s.inputs, id)
	default:
		s.inputs[id] = nil
	}
}

// run runs one command and reports its end.
func (s *Server) run(control net.Conn, id string, spec Spec) {
	var in chan net.Conn
	if spec.Input {
		in = s.input(id)
		defer s.settle(id, in)
	}
	var x exit
	if err := s.prepare(&spec); err != nil {
		x = exit{Status: 125, Error: err.Error()}
	} else {
		x = s.execute(control, in, spec)
	}
	if s.Flush != nil {
		s.Flush()
	}
	_ = writeJSON(control, frameExit, x) // the client may be gone
}

func (s *Server) prepare(spec *Spec) error {
	if len(spec.Argv) == 0 {
		return fmt.Errorf("run command: no argument vector")
	}
	if s.Ready != nil {
		if err := s.Ready(); err != nil {
			return err
		}
	}
	if s.Adjust != nil {
		s.Adjust(spec)
	}
	return nil
}

func (s *Server) execute(control net.Conn, in chan net.Conn, spec Spec) exit {
	start := s.Start
	if start == nil {
		start = startProcess
	}
	c, err := launch(start, spec)
	if err != nil {
		return exit{Status: startStatus(err), Error: err.Error()}
	}
	var output sync.WaitGroup
	frames := &frameWriter{w: control}
	for _, o := range c.outputs {
		output.Go(func() { c.copyOutput(frames, o) })
	}
	if in != nil {
		go c.copyInput(in)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		c.handleEvents(control)
	}()
	status := s.await(c, gone)
	output.Wait()
	c.close()
	return exit{Status: status}
}

// await waits for the command's end, and brings it about when the client is gone.
func (s *Server) await(c *command, gone <-chan struct{}) int {
	grace := s.HangupGrace
	if grace == 0 {
		grace = 3 * time.Second
	}
	select {
	case <-c.ended:
		return c.status
	case <-gone:
	}
	c.signal(syscall.SIGHUP)
	c.signal(syscall.SIGCONT) // a stopped one would not notice
	select {
	case <-c.ended:
	case <-time.After(grace):
		c.signal(syscall.SIGKILL)
		<-c.ended
	}
	c.signal(syscall.SIGKILL) // what is left of its group
	return c.status
}

// frameWriter lets several outputs share a stream.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frameWriter) write(kind byte, b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return writeFrame(f.w, kind, b)
}
