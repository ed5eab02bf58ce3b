package wire

import (
	"fmt"
	"slices"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/lb/vrrp"
	"golang.org/x/sys/unix"
)

// speaking is a group with its wires.
type speaking struct {
	Group   // the routers' Addr are what advertisements come from
	told    Group
	fsm     *vrrp.Group
	since   time.Time
	moves   int        // of the addresses
	routers []*routing // parallel to Group.Routers

	// Until it is in force: the group that it goes on from, and for each router
	// its index there, or -1.
	before *speaking
	from   []int
}

// routing is a virtual router with its socket.
type routing struct {
	*Router
	link    *link
	sock    *socket
	header  *socket // version 2: hears those who speak with an authentication header
	counts  Counts
	refused string // the latest packet's fault, to be told once
	failing bool   // sending fails: that has been told
}

// newSpeaking is a group without sockets.
func newSpeaking(g Group, links map[string]*link) *speaking {
	sp := &speaking{Group: g, told: g, since: time.Now()}
	sp.Routers = slices.Clone(g.Routers)
	for i := range sp.Routers {
		r := &sp.Routers[i]
		sp.routers = append(sp.routers, &routing{Router: r, link: links[r.Interface]})
	}
	return sp
}

// resolve finds the address that advertisements come from.
func (r *routing) resolve(ns *netns.NS) error {
	if r.Addr.Is4() || len(r.Peers) > 0 {
		return nil
	}
	local, err := awaitLinkLocal(ns, r.link.index)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Interface, err)
	}
	r.Addr = local
	return nil
}

// open opens the sockets that it lacks.
func (r *routing) open(ns *netns.NS, version uint8) (opened []*socket, err error) {
	open := func(sock **socket, protocol int) (err error) {
		if *sock == nil {
			if *sock, err = openSocket(protocol, r.Interface, r.link.index, r.Addr, r.Peers); err == nil {
				opened = append(opened, *sock)
			}
		}
		return err
	}
	err = ns.Do(func() error {
		if err := open(&r.sock, vrrp.Protocol); err != nil || version != 2 {
			r.header = nil
			return err
		}
		return open(&r.header, unix.IPPROTO_AH)
	})
	return opened, err
}

// sockets are those that are open.
func (g *speaking) sockets() (out []*socket) {
	for _, r := range g.routers {
		for _, sock := range []*socket{r.sock, r.header} {
			if sock != nil {
				out = append(out, sock)
			}
		}
	}
	return out
}
