package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/guest/boot"
	"github.com/ipvslab/ipvslab/internal/guest/sandbox"
	"github.com/ipvslab/ipvslab/internal/guest/session"
	"github.com/ipvslab/ipvslab/internal/poll"
)

// Start boots a guest in the background and returns when it is ready. It ends by
// itself when no command runs in it and no lab is left in it.
func Start(ctx context.Context, o Options) (*Guest, error) {
	o, err := o.fill()
	if err != nil {
		return nil, err
	}
	_, dead, err := List() // sweeps
	for _, d := range dead {
		o.Note(d.Error())
	}
	if err != nil {
		return nil, err
	}
	dir, err := newGuestDir(o)
	if err != nil {
		return nil, err
	}
	failed := func(err error) (*Guest, error) {
		return nil, errors.Join(err, removeGuestDir(dir))
	}
	log, err := os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return failed(fmt.Errorf("start guest: %w", err))
	}
	defer log.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return failed(fmt.Errorf("start guest: %w", err))
	}
	self, err := os.Executable()
	if err != nil {
		ready.Close()
		theirs.Close()
		return failed(fmt.Errorf("start guest: %w", err))
	}
	cmd := &exec.Cmd{
		Path: self, Args: []string{"ipvslab", superviseMark, dir}, Dir: "/",
		Stdout: log, Stderr: log, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		ready.Close()
		return failed(fmt.Errorf("start guest's supervisor: %w", err))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it outlives us, or has said why not
	}()
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it cleans up, as long as it can
		select {
		case <-ended:
		case <-time.After(abortGrace):
			_ = cmd.Process.Kill()
		}
	})
	defer stop()
	defer o.tellSlow()()
	return started(ctx, dir, ready, o)
}

// abortGrace is how long a supervisor has to break a boot off.
const abortGrace = 5 * time.Second

// readyByte is the supervisor's word that the guest is ready. Its pipe stays
// open: at its other end the supervisor sees that whoever started it is gone.
// Anything else is why there is no guest.
const readyByte = '\x06'

// started waits for the supervisor's word.
func started(ctx context.Context, dir string, ready *os.File, o Options) (*Guest, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(ready, first); err == nil && first[0] == readyByte {
		i, err := readInfo(dir)
		if err != nil {
			return nil, errors.Join(err, ready.Close())
		}
		for _, n := range i.Notes {
			o.Note(n)
		}
		return &Guest{Info: i, path: dir, hold: ready}, nil
	}
	defer ready.Close()
	word, _ := io.ReadAll(io.MultiReader(bytes.NewReader(bytes.TrimRight(first, "\x00")), ready))
	var err error
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("start guest: %w", ctx.Err())
	case len(word) > 0:
		err = errors.New(string(word))
		if i, rerr := readInfo(dir); rerr == nil && i.Died != "" { // the same, as an error that can be told from others
			err = i.diedError()
		}
	default:
		log, _ := os.ReadFile(filepath.Join(dir, logFile)) // whatever there is
		err = fmt.Errorf("start guest: its supervisor ended without a word: %s", strings.TrimSpace(string(log)))
	}
	return nil, errors.Join(err, removeGuestDir(dir))
}

// newGuestDir makes the directory of a new guest, owned, for now, by this process.
// It gets its name when its record is in it; until then the name is the record.
func newGuestDir(o Options) (string, error) {
	start, err := sandbox.StartTime(os.Getpid())
	if err != nil {
		return "", fmt.Errorf("start guest: %w", err)
	}
	id := strings.ToLower(rand.Text()[:8])
	var dir, unborn string
	for range runtimeTries { // another call may remove the empty runtime directory in between
		root, err2 := runtimeDir(true)
		if err2 != nil {
			return "", err2
		}
		dir, unborn = filepath.Join(root, id), filepath.Join(root, unbornName(os.Getpid(), start, id))
		if err = os.Mkdir(unborn, 0o700); !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("start guest: %w", err)
	}
	b, err := json.Marshal(o)
	if err == nil {
		err = os.WriteFile(filepath.Join(unborn, optionFile), b, 0o600)
	}
	if err == nil {
		err = writeInfo(unborn, Info{ID: id, PID: os.Getpid(), Start: start, Launcher: o.Launcher, Kernel: o.Kernel, Dir: o.Dir})
	}
	if err == nil {
		err = os.Rename(unborn, dir)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("start guest: %w", err), removeGuestDir(unborn))
	}
	return dir, nil
}

// removeGuestDir removes a guest's directory and, if it was the last, the one above.
func removeGuestDir(dir string) error {
	err := os.RemoveAll(dir)
	_ = os.Remove(filepath.Dir(dir)) // other guests may be in it
	return err
}

// connect opens a connection to the guest's supervisor.
func (g *Guest) connect() (*session.Client, error) {
	conn, err := net.Dial("unix", filepath.Join(g.path, socketFile))
	if err != nil {
		return nil, g.lost()
	}
	c, err := session.NewClient(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// Run runs a command in the guest, beside others. See [Run] for the outcome.
func (g *Guest) Run(ctx context.Context, cmd Command) (int, error) {
	return attach(cmd, func(c session.Command, begin func() error) (int, error) {
		client, err := g.connect()
		if err != nil {
			return -1, err
		}
		defer client.Close()
		if err := begin(); err != nil {
			return -1, err
		}
		status, err := client.Run(ctx, c)
		if errors.Is(err, session.ErrLost) {
			return -1, g.lost()
		}
		return status, err
	})
}

// labs asks the guest which labs are in it.
func (g *Guest) labs() ([]string, error) {
	client, err := g.connect()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var s boot.State
	err = client.Ask(&s)
	return s.Labs, err
}

// LabsNow lists the labs in the guest. Its record lags behind while a command
// runs in it, and for a moment after that was killed: hence the question, and
// with nothing in the guest the wait for its end.
func (g *Guest) LabsNow() []string {
	labs, err := g.labs()
	if err == nil && len(labs) == 0 {
		g.Leave()
		labs, err = g.labs()
	}
	if err != nil {
		return g.Labs // it is dying; using it will tell
	}
	return labs
}

// lost says why the connection to the guest is gone: the supervisor leaves word,
// unless it was killed. A guest whose record is gone ended in good order:
// that is ErrNoGuest, and nothing that was asked of it has been done.
func (g *Guest) lost() error {
	i, pace := g.Info, poll.Start()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-pace.Again() {
		now, err := readInfo(g.path)
		if err == nil {
			i = now
		}
		if i.Died != "" || !sandbox.Alive(i.PID, i.Start) {
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("guest %s has ended: %w", i.ID, ErrNoGuest)
			}
			break
		}
	}
	return i.lastWord(g.path).diedError()
}

// leaving bounds how long a guest without labs is waited for.
const leaving = 3 * time.Second

// Leave says that nothing more will be asked of the guest from here, and waits
// for its end if there is no lab in it. Others that use it keep it alive. What a
// supervisor leaves behind that is killed meanwhile is removed.
func (g *Guest) Leave() {
	if g.hold != nil {
		g.hold.Close() // a pipe's read end
	}
	pace := poll.Start()
	for deadline := time.Now().Add(leaving); time.Now().Before(deadline); <-pace.Again() {
		alive := sandbox.Alive(g.PID, g.Start)
		i, err := readInfo(g.path) // its last word, if it does not live
		if err == nil && len(i.Labs) > 0 {
			return
		}
		if !alive {
			if err == nil && i.Died == "" {
				_ = removeGuestDir(g.path) // the next command tries again
			}
			return
		}
	}
}

// Stop ends the guest with all that is in it, and leaves nothing behind.
func (g *Guest) Stop() error {
	if fd, err := unix.PidfdOpen(g.PID, 0); err == nil {
		defer unix.Close(fd)
		if sandbox.Alive(g.PID, g.Start) { // now the descriptor is surely its own
			_ = unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0) // it may be ending already
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(poll, 5000); n == 0 && err == nil {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
				_, _ = unix.Poll(poll, 5000)
			}
		}
	}
	return removeGuestDir(g.path)
}
