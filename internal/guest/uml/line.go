package uml

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// window is how many bytes may be under way to the guest. A guest's terminal
// that has about 4,096 bytes unread throttles and, in user-mode Linux, then
// stalls for good; so the reader inside acknowledges on a second line what it
// has taken, and the writer waits for that. The first window is granted by the
// reader as well, once its terminal is in raw mode: what came earlier would be edited.
const window = 3072

// hostLine is the host's end of the byte stream.
type hostLine struct {
	data, acks *os.File
	writing    sync.Mutex // one Write at a time
	mu         sync.Mutex
	more       *sync.Cond
	credit     int
	closed     error
}

func newHostLine(data, acks *os.File) *hostLine {
	l := &hostLine{data: data, acks: acks}
	l.more = sync.NewCond(&l.mu)
	go l.readAcks()
	return l
}

func (l *hostLine) readAcks() {
	r := bufio.NewReader(l.acks)
	var b [2]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			l.end(io.ErrClosedPipe)
			return
		}
		l.mu.Lock()
		l.credit += int(binary.BigEndian.Uint16(b[:]))
		l.mu.Unlock()
		l.more.Signal()
	}
}

func (l *hostLine) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed == nil {
		l.closed = err
	}
	l.more.Broadcast()
}

// take waits for credit and takes up to n bytes of it.
func (l *hostLine) take(n int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.credit == 0 && l.closed == nil {
		l.more.Wait()
	}
	if l.closed != nil {
		return 0, l.closed
	}
	n = min(n, l.credit)
	l.credit -= n
	return n, nil
}

func (l *hostLine) Write(p []byte) (written int, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	for written < len(p) {
		n, err := l.take(len(p) - written)
		if err != nil {
			return written, err
		}
		n, err = l.data.Write(p[written : written+n])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (l *hostLine) Read(p []byte) (int, error) {
	n, err := l.data.Read(p)
	if errors.Is(err, unix.ECONNRESET) {
		err = io.EOF // the kernel died with input unread
	}
	return n, err
}

func (l *hostLine) Close() error {
	l.end(io.ErrClosedPipe)
	return errors.Join(closeOnce(l.data), closeOnce(l.acks))
}

func closeOnce(f *os.File) error {
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// guestLine is the guest's end: two terminals in raw mode.
type guestLine struct{ data, acks *os.File }

func openGuestLine() (*guestLine, error) {
	data, err := openRaw("/dev/ttyS0")
	if err != nil {
		return nil, err
	}
	acks, err := openRaw("/dev/ttyS1")
	if err != nil {
		return nil, errors.Join(err, data.Close())
	}
	l := &guestLine{data, acks}
	if err := l.grant(window); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// openRaw opens a terminal that hands on every byte as it is (termios(3), cfmakeraw).
func openRaw(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open serial line: %w", err)
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == nil {
		t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		err = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s raw: %w", path, err), f.Close())
	}
	return f, nil
}

func (l *guestLine) Read(p []byte) (int, error) {
	n, err := l.data.Read(p[:min(len(p), window)])
	if n > 0 {
		if err := l.grant(n); err != nil {
			return n, err
		}
	}
	return n, err
}

// grant allows the other end n more bytes.
func (l *guestLine) grant(n int) error {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], uint16(n))
	if _, err := l.acks.Write(b[:]); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

func (l *guestLine) Write(p []byte) (int, error) { return l.data.Write(p) }

func (l *guestLine) Close() error { return errors.Join(l.data.Close(), l.acks.Close()) }
