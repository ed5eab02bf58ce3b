package qemu

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/guest/modules"
)

// Inside is the guest's half, called by pid 1, which starts in the initramfs.
type Inside struct{}

// Options of the shares: the protocol variant that has Linux's semantics, and
// large messages.
//
// The root's files are cached without asking the host again: emulated, a round
// trip takes up to a millisecond, and without the cache each name of a path is
// one, each time (20 s for an `ls -l /usr/bin`). So what the host changes outside
// of the writable directories may not be seen by a guest that runs already. In
// those, nothing is cached but mapped pages, which builds and databases need.
const (
	shareOptions    = "trans=virtio,version=9p2000.L,msize=512000,cache="
	rootOptions     = shareOptions + "loose"
	writableOptions = shareOptions + "mmap"
)

// How the messages begin by which the host knows a kernel that lacks something
// (see attempt.explain).
const (
	noShare = "mount host's tree: "
	noPort  = "no virtio port"
)

// Root loads the modules of the initramfs, mounts the host's tree and makes it
// the root, with the kernel's file systems moved over.
func (Inside) Root() error {
	files, err := filepath.Glob(modulesDir + "/*") // in their order
	if err != nil {
		return fmt.Errorf("list modules: %w", err)
	}
	if err := modules.Load(files); err != nil {
		return err
	}
	if err := unix.Mount(rootTag, "/root", "9p", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, rootOptions); err != nil {
		return fmt.Errorf(noShare+"%w", err)
	}
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if err := unix.Mount(dir, "/root"+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	// Neither pivot_root(2) nor an unmount is possible on an initramfs: the
	// tree is moved over it, as switch_root(8) does.
	if err := os.Chdir("/root"); err != nil {
		return fmt.Errorf("enter host's tree: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move host's tree to the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter host's tree: %w", err)
	}
	return os.Chdir("/")
}

// portName is the name of the virtio serial port that is the line.
const portName = "ipvslab"

// portWait bounds the time from loading the driver to its device.
const portWait = 5 * time.Second

// Line opens the virtio port and tells the host that the init is there.
func (Inside) Line() (io.ReadWriteCloser, error) {
	path, err := findPort()
	if err != nil {
		return nil, fmt.Errorf("open line to the host: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open line to the host: %w", err)
	}
	if _, err := f.Write([]byte{hello}); err != nil {
		return nil, errors.Join(fmt.Errorf("greet host: %w", err), f.Close())
	}
	return f, nil
}

// findPort waits for the port: the driver learns its name from messages.
func findPort() (string, error) {
	deadline := time.Now().Add(portWait)
	for {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return "", err
		}
		for _, n := range names {
			data, err := os.ReadFile(n)
			dev := "/dev/" + filepath.Base(filepath.Dir(n))
			if _, staterr := os.Stat(dev); err == nil && staterr == nil && strings.TrimSpace(string(data)) == portName {
				return dev, nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf(noPort+" %q within %v", portName, portWait)
		}
		<-time.After(time.Millisecond)
	}
}

// Writable mounts the directory's own share.
func (Inside) Writable(dirs []string, i int) error {
	err := unix.Mount(writableTag(i), dirs[i], "9p", unix.MS_NOSUID|unix.MS_NODEV, writableOptions)
	if err != nil {
		return fmt.Errorf("mount %s: %w", dirs[i], err)
	}
	return nil
}
