package scenarios_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb"
)

// site is a running lab in which a defect is planted.
type site struct {
	*lab.Lab
	ctx      context.Context
	cleanups *[]func() error
}

func (s site) clean() error {
	var errs []error
	for _, c := range *s.cleanups {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// apply changes a director's table behind everybody's back.
func (s site) apply(director string, changes ...lb.Change) error {
	n, err := s.Node(director)
	if err != nil {
		return err
	}
	t, err := n.Table(s.ctx)
	if err != nil {
		return err
	}
	return errors.Join(t.Apply(s.ctx, changes...), t.Close())
}

// service is the lab's first service as planned.
func (s site) service() lb.Service { return s.Plan().Services[0].Spec }

// dest is the first service's destination at a real server.
func (s site) dest(name string) lb.Destination {
	p := s.Plan().Services[0]
	return p.Spec.Destinations[slices.Index(p.RealServers, name)]
}

// edit changes a destination of the first service in the director's table.
func (s site) edit(name string, change func(*lb.Destination)) error {
	d := s.dest(name)
	change(&d)
	return s.apply("director", lb.DestChange(lb.EditDestination, s.service().Key, d))
}

// editService changes the first service itself.
func (s site) editService(change func(*lb.Service)) error {
	spec := s.service()
	change(&spec)
	return s.apply("director", lb.Change{Op: lb.EditService, Service: spec})
}

// sysctl sets a kernel setting in a node.
func (s site) sysctl(node string, settings ...string) error {
	n, err := s.Node(node)
	if err != nil {
		return err
	}
	return n.Do(func() error {
		var set rtnl.Settings
		for i := 0; i < len(settings); i += 2 {
			if err := set.Set(rtnl.Sysctl{Key: settings[i], Value: settings[i+1]}); err != nil {
				return err
			}
		}
		return nil
	})
}

// link does something to an interface of a node.
func (s site) link(node, name string, do func(*netlink.Handle, netlink.Link) error) error {
	n, err := s.Node(node)
	if err != nil {
		return err
	}
	return n.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		return do(h, l)
	})
}

func addr(prefix string) *netlink.Addr {
	p := netip.MustParsePrefix(prefix)
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}

// misdirect makes a node take another's hardware address for that of an IP
// address, as after a lost gratuitous ARP or with two owners of the address.
func (s site) misdirect(node, ip, owner string) error {
	to, err := s.Node(owner)
	if err != nil {
		return err
	}
	port := to.Plan().Interfaces[0]
	mac, err := net.ParseMAC(port.MAC)
	if err != nil {
		return err
	}
	return s.link(node, port.Name, func(h *netlink.Handle, l netlink.Link) error {
		return h.NeighSet(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(ip), HardwareAddr: mac,
		})
	})
}

// lie changes what the lab's agent answers to the suite's questions.
func (s site) lie(change func(path string, body []byte) ([]byte, error)) error {
	socket := filepath.Join(s.Dir(), "agent.sock")
	honest := filepath.Join(s.Dir(), "honest.sock")
	if err := os.Rename(socket, honest); err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "agent" },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", honest)
		}},
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				body, err = change(r.Request.URL.Path, body)
			}
			if err != nil {
				return err
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Length", fmt.Sprint(len(body)))
			return nil
		},
	}
	server := &http.Server{Handler: proxy}
	*s.cleanups = append(*s.cleanups, server.Close)
	go server.Serve(listener) // ends with Close
	return nil
}
