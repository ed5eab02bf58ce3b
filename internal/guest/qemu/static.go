package qemu

import (
	"debug/elf"
	"errors"
	"fmt"
)

// ErrDynamic is a program that can't be a guest's init.
var ErrDynamic = errors.New("it is linked dynamically, and the guest's first file system holds no libraries; build it with CGO_ENABLED=0")

// CheckStatic sees that the program needs no program loader (PT_INTERP, elf(5)).
func CheckStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("use %s as the guest's init: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("use %s as the guest's init: %w", path, ErrDynamic)
		}
	}
	return nil
}
