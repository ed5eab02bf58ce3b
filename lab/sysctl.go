package lab

import (
	"maps"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/topology"
)

// sysctls makes the node's settings, and reads back what it writes: first what
// is for the whole node or for interfaces yet to come, then the interfaces' own,
// which may follow from the former (net/ipv4/devinet.c: inet_forward_change,
// devinet_copy_dflt_conf).
//
// A file in /proc costs four system calls. So an interface's settings are read
// in one message, and only what it doesn't say already is set one by one. A new
// interface's tell the defaults as well, of which it is a copy.
func (c *configurer) sysctls() error {
	var common []rtnl.Sysctl
	own := map[string][]rtnl.Sysctl{} // by interface
	defaults, err := c.defaults()
	if err != nil {
		return err
	}
	for _, s := range c.node.Sysctls {
		optional := s.Optional || c.noServices && strings.HasPrefix(s.Key, "net.ipv4.vs.")
		setting := rtnl.Sysctl{Key: s.Key, Value: s.Value, Optional: optional}
		of, key := confOf(s.Key)
		switch {
		case c.index[of] != 0:
			own[of] = append(own[of], setting)
		case of != "default" || !defaults.Says(key, setting):
			common = append(common, setting)
		}
	}
	if err := c.settings.Set(common...); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if err := c.setMissing(name, own[name]); err != nil {
			return err
		}
	}
	return nil
}

// defaults are what a new interface of the node was made with. Forwarding is
// left out: it changes with net.ipv4.ip_forward.
func (c *configurer) defaults() (rtnl.Conf, error) {
	for _, iface := range c.node.Interfaces {
		if iface.Kind == topology.VethIface {
			conf, err := c.conn.ReadConf(iface.Name, c.index[iface.Name])
			delete(conf, "forwarding")
			return conf, err
		}
	}
	return nil, nil
}

// setMissing makes the settings that the interface doesn't have already.
func (c *configurer) setMissing(name string, settings []rtnl.Sysctl) error {
	conf, err := c.conn.ReadConf(name, c.index[name])
	if err != nil {
		return err
	}
	return c.settings.Set(slices.DeleteFunc(settings, func(s rtnl.Sysctl) bool {
		_, key := confOf(s.Key)
		return conf.Says(key, s)
	})...)
}

// confOf takes net.ipv4.conf.OF.KEY apart; of is an interface, "all" or
// "default". Both are empty for other settings.
func confOf(setting string) (of, key string) {
	rest, ok := strings.CutPrefix(setting, "net.ipv4.conf.")
	end := strings.LastIndexByte(rest, '.')
	if !ok || end < 0 {
		return "", ""
	}
	return strings.ReplaceAll(rest[:end], "/", "."), rest[end+1:] // a slash is a dot in a name: sysctl(8)
}
