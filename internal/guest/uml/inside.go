package uml

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Inside is the guest's half, called by pid 1.
type Inside struct{}

// Root has nothing to do: the kernel has mounted hostfs as its root.
func (Inside) Root() error { return nil }

// Line opens the serial lines.
func (Inside) Line() (io.ReadWriteCloser, error) { return openGuestLine() }

// Writable mounts the directory through hostfs once more, read-write.
func (Inside) Writable(dirs []string, i int) error {
	err := unix.Mount("none", dirs[i], "hostfs", unix.MS_NOSUID|unix.MS_NODEV, dirs[i])
	if err != nil {
		return fmt.Errorf("mount %s: %w", dirs[i], err)
	}
	return nil
}
