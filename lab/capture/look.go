package capture

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stats counts what was seen so far.
func (c *Capture) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sync()
	return c.stats
}

// Frames gives every packet seen so far, in order, as captured. The data is
// the capture's own and not to be changed.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sync()
	return slices.Clone(c.frames)
}

// Packets gives every packet seen so far, in order.
func (c *Capture) Packets() []Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sync()
	c.decodeAll()
	return slices.Clone(c.packets)
}

func (c *Capture) decodeAll() {
	for _, f := range c.frames[len(c.packets):] {
		c.packets = append(c.packets, c.decode(f))
	}
}

func (c *Capture) decode(f Frame) Packet {
	p := Decode(f, c.linkType, c.options.GUEPorts)
	p.Node, p.Interface = c.options.Node, c.options.Interface
	return p
}

// Find gives the packets seen so far for which want holds.
func (c *Capture) Find(want func(Packet) bool) []Packet {
	return slices.DeleteFunc(c.Packets(), func(p Packet) bool { return !want(p) })
}

// WaitFor waits for the first packet for which want holds, one seen before
// the call included. It fails when ctx ends or the capture does.
func (c *Capture) WaitFor(ctx context.Context, want func(Packet) bool) (Packet, error) {
	for looked := 0; ; {
		c.mu.Lock()
		c.sync()
		c.decodeAll()
		fresh, changed, stopped := c.packets[looked:], c.changed, c.stopped
		c.mu.Unlock()
		for _, p := range fresh {
			if want(p) {
				return p, nil
			}
		}
		looked += len(fresh)
		if stopped {
			return Packet{}, fmt.Errorf("wait for packet on %s: capture stopped; none of %d packets is it", c, looked)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Packet{}, fmt.Errorf("wait for packet on %s: none of %d packets is it: %w", c, looked, ctx.Err())
		}
	}
}

// timespec reads a struct __kernel_timespec or its older twin; both are the
// kernel's native one on 64-bit machines.
func timespec(data []byte) (time.Time, bool) {
	if len(data) < int(unsafe.Sizeof(unix.Timespec{})) {
		return time.Time{}, false
	}
	return time.Unix((*unix.Timespec)(unsafe.Pointer(&data[0])).Unix()), true
}
