package modules

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Load hands the files to the kernel in their order, in the guest, as root. A
// module that is loaded already counts as loaded. It goes on past a module
// that the kernel refuses and returns all such errors joined: those that
// depend on it fail too, the others are worth having.
func Load(files []string) error {
	var errs []error
	for _, f := range files {
		if err := loadFile(f); err != nil {
			errs = append(errs, fmt.Errorf("load module %s: %w", f, err))
		}
	}
	return errors.Join(errs...)
}

func loadFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
