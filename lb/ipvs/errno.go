package ipvs

import (
	"errors"
	"fmt"
	"os"

	"github.com/ipvslab/ipvslab/lb"
	"golang.org/x/sys/unix"
)

// explain turns an errno of the kernel into the sentinel it means for op, with
// the errno kept in the chain. Other errors pass through.
func explain(op lb.Op, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		if errors.Is(err, os.ErrClosed) {
			return lb.ErrClosed
		}
		return err
	}
	onDestination := op == lb.AddDestination || op == lb.EditDestination || op == lb.DeleteDestination
	var meaning error
	switch {
	case errno == unix.EEXIST && onDestination:
		meaning = lb.ErrDestinationExists
	case errno == unix.EEXIST:
		meaning = lb.ErrServiceExists
	case errno == unix.ENOENT && onDestination:
		meaning = lb.ErrNoDestination
	case errno == unix.ENOENT && (op == lb.AddService || op == lb.EditService):
		meaning = lb.ErrNoScheduler
	case errno == unix.ESRCH:
		meaning = lb.ErrNoService
	default:
		return explainAny(errno)
	}
	return fmt.Errorf("%w (%w)", meaning, errno)
}

// explainAny is for the errnos that mean the same whatever was asked.
func explainAny(errno unix.Errno) error {
	meaning := map[unix.Errno]error{
		unix.EPERM:        lb.ErrNotPermitted,
		unix.ERANGE:       lb.ErrRange,
		unix.EINVAL:       lb.ErrInvalid,
		unix.EAFNOSUPPORT: lb.ErrFamily,
		unix.EBADF:        lb.ErrClosed,
	}[errno]
	if meaning == nil {
		return errno
	}
	return fmt.Errorf("%w (%w)", meaning, errno)
}
