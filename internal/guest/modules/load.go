package modules

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Load hands the files to the kernel in their order, in the guest, as root. A
// module that is loaded already is passed over, its file is not read. It goes
// on past a module that the kernel refuses and returns all such errors joined:
// those that depend on it fail too, the others are worth having.
func Load(files []string) error {
	if len(files) == 0 {
		return nil // a kernel without modules has no list of them either
	}
	there, err := loaded()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		name, _ := moduleName(f)
		if there[name] {
			continue
		}
		if err := loadFile(f); err != nil {
			errs = append(errs, fmt.Errorf("load module %s: %w", f, err))
			continue
		}
		there[name] = true
	}
	return errors.Join(errs...)
}

// loaded are the names in /proc/modules.
func loaded() (map[string]bool, error) {
	data, err := os.ReadFile("/proc/modules")
	if err != nil {
		return nil, fmt.Errorf("list loaded modules: %w", err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, " ")
		names[name] = true
	}
	return names, nil
}

// loadFile makes three system calls and no more. In user-mode Linux each costs
// a change of processes on the host, and os.File makes twice as many.
func loadFile(path string) error {
	if !strings.HasSuffix(path, ".ko") {
		return loadCompressed(path)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unlessThere(unix.FinitModule(fd, "", 0))
}

// loadCompressed decompresses here: few kernels can.
func loadCompressed(path string) error {
	data, err := readModule(path)
	if err != nil {
		return err
	}
	return unlessThere(unix.InitModule(data, ""))
}

func unlessThere(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
