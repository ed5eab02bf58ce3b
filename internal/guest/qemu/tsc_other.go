//go:build !amd64

package qemu

// tscKHz is zero: there is no time stamp counter of that kind here.
func tscKHz() uint64 { return 0 }
