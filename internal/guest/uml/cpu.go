package uml

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// cpu is a CPU taken for a guest. The kernel's own file for the CPU is locked
// with flock(2): other guests, of any user, take another one, nothing is left
// behind, and the lock ends with the process however that ends.
type cpu struct {
	number int
	lock   *os.File
}

var nextShared atomic.Uint32

// acquireCPU takes the first free one of the CPUs that this process may run
// on. When none is free the guest shares one.
func acquireCPU() (cpu, error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return cpu{}, fmt.Errorf("read CPU affinity: %w", err)
	}
	var numbers []int
	for i := range len(allowed) * 64 {
		if allowed.IsSet(i) {
			numbers = append(numbers, i)
		}
	}
	if len(numbers) == 0 {
		return cpu{}, fmt.Errorf("read CPU affinity: no CPU")
	}
	for _, n := range numbers {
		f, err := os.Open(fmt.Sprintf("/sys/devices/system/cpu/cpu%d", n))
		if err != nil {
			continue // no /sys: nothing to agree on with others
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			return cpu{n, f}, nil
		}
		f.Close()
	}
	shared := (uint32(os.Getpid()) + nextShared.Add(1)) % uint32(len(numbers))
	return cpu{number: numbers[shared]}, nil
}

func (c cpu) set() []int { return []int{c.number} }

func (c cpu) release() {
	if c.lock != nil {
		c.lock.Close()
	}
}
