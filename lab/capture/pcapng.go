package capture

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// Writer writes packets of several captures to one pcapng stream as they
// come, each flushed at once, so that the file is whole whenever a process dies.
type Writer struct {
	out  io.Writer
	lazy bool // flush at the end only

	mu  sync.Mutex
	ng  *pcapgo.NgWriter
	ids map[*Capture]int
}

// NewWriter makes a writer; give it to captures as [Options].Live. It doesn't
// close out.
func NewWriter(out io.Writer) *Writer {
	return &Writer{out: out, ids: map[*Capture]int{}}
}

// add writes the interface block of a capture.
func (w *Writer) add(c *Capture) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	intf := pcapgo.NgInterface{
		Name: c.String(), LinkType: pcapLinkType(c.linkType), SnapLength: uint32(c.options.SnapLen),
		OS: "linux", TimestampResolution: 9,
	}
	if w.ng != nil {
		id, err := w.ng.AddInterface(intf)
		if err != nil {
			return fmt.Errorf("write interface %s: %w", c, err)
		}
		w.ids[c] = id
		return w.ng.Flush()
	}
	info := pcapgo.DefaultNgWriterOptions
	info.SectionInfo.Application = "ipvslab"
	ng, err := pcapgo.NewNgWriterInterface(w.out, intf, info)
	if err != nil {
		return fmt.Errorf("write interface %s: %w", c, err)
	}
	w.ng, w.ids[c] = ng, 0
	return w.ng.Flush()
}

// pcapLinkType translates a device's type (ARPHRD_*) for files.
func pcapLinkType(arphrd uint16) layers.LinkType {
	if ethernet(arphrd) {
		return layers.LinkTypeEthernet
	}
	return layers.LinkTypeRaw
}

// ethernet tells whether a device's frames begin with an Ethernet header.
func ethernet(arphrd uint16) bool {
	return arphrd == unix.ARPHRD_ETHER || arphrd == unix.ARPHRD_LOOPBACK
}

func (w *Writer) write(c *Capture, f Frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	direction := pcapgo.NgEpbFlagDirectionInbound
	if f.Direction == Out {
		direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	err := w.ng.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: f.Time, CaptureLength: len(f.Data), Length: f.Length, InterfaceIndex: w.ids[c],
	}, f.Data, pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: direction}})
	if err != nil {
		return fmt.Errorf("write packet of %s: %w", c, err)
	}
	if w.lazy {
		return nil
	}
	return w.ng.Flush()
}

func (w *Writer) counters(c *Capture, s Stats, at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ng.WriteInterfaceStats(w.ids[c], pcapgo.NgInterfaceStatistics{
		LastUpdate: at, PacketsReceived: s.Seen, PacketsDropped: s.Dropped,
	})
}

func (w *Writer) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ng == nil {
		return nil
	}
	return w.ng.Flush()
}
