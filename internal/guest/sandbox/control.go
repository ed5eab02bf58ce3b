package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// request is what the host's side tells the first stage.
type request struct {
	Argv        []string
	Env         []string
	Files       int
	Writable    []string
	Needed      []string
	Devices     []string
	PrivateSize int64
	Affinity    []int
	Self        string // the executable's path
	// PrivateDir is the private directory, when there are no namespaces to make one in.
	PrivateDir string
	// Tree: the message carries a mount of the host's tree, and for each i with
	// Mounts[i] a mount of Writable[i] and its place in the tree.
	Tree   bool
	Mounts []bool
}

// reply is what the first stage answers when it has confined itself or failed.
type reply struct {
	Error   string
	Refused bool // the next weaker mode is the answer
	Mode    Mode
	Notes   []string
}

const maxMessage = 160 << 10

func sendRequest(socket int, r request, fds []int) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(socket, b, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send request to sandbox: %w", err)
	}
	return nil
}

func receiveRequest(socket int) (request, []int, error) {
	var r request
	b := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(4*253)) // SCM_MAX_FD
	n, oobn, _, _, err := unix.Recvmsg(socket, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return r, nil, fmt.Errorf("receive request: %w", err)
	}
	if n == 0 {
		return r, nil, io.EOF
	}
	if err := json.Unmarshal(b[:n], &r); err != nil {
		return r, nil, fmt.Errorf("read request: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return r, nil, fmt.Errorf("read descriptors: %w", err)
	}
	var fds []int
	for _, m := range messages {
		f, err := unix.ParseUnixRights(&m)
		if err != nil {
			return r, nil, fmt.Errorf("read descriptors: %w", err)
		}
		fds = append(fds, f...)
	}
	return r, fds, nil
}

func sendReply(r reply) {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and a bool
	}
	_ = unix.Sendmsg(controlFD, b, nil, nil, unix.MSG_NOSIGNAL) // the host's side may be gone: then nobody waits
}

func receiveReply(socket int) (reply, error) {
	var r reply
	b := make([]byte, maxMessage)
	n, err := readRetry(socket, b)
	if err != nil {
		return r, fmt.Errorf("receive reply of sandbox: %w", err)
	}
	if n == 0 {
		return r, errors.New("the sandbox's first process ended before it answered")
	}
	if err := json.Unmarshal(b[:n], &r); err != nil {
		return r, fmt.Errorf("read reply of sandbox: %w", err)
	}
	switch {
	case r.Refused:
		return r, fmt.Errorf("%w: %s", errRefused, r.Error)
	case r.Error != "":
		return r, errors.New(r.Error)
	}
	return r, nil
}

func readRetry(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}
