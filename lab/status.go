package lab

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/topology"
)

// Status is what there is of a lab, as `ipvslab status --json` prints it.
type Status struct {
	Name      string           `json:"name"`
	Phase     string           `json:"phase"` // "up"; "making" or "ending" while that is done, or if whoever did it died
	Created   time.Time        `json:"created"`
	Source    string           `json:"source,omitempty"`
	Directory string           `json:"directory"`
	Nodes     []NodeStatus     `json:"nodes"`
	Directors []DirectorStatus `json:"directors,omitempty"`
	Processes []ProcessStatus  `json:"processes,omitempty"`
	Services  []ServiceStatus  `json:"services,omitempty"`
	Failover  []GroupStatus    `json:"failover,omitempty"`
	// Faults are those in force (see [Lab.Fault]), in the order in which they were done.
	Faults []topology.Fault `json:"faults,omitempty"`
}

// NodeStatus is a node of a Status.
type NodeStatus struct {
	Name      string        `json:"name"`
	Role      topology.Role `json:"role"`
	Namespace string        `json:"namespace"`
	Present   bool          `json:"present"` // the namespace is there
	Addresses []netip.Addr  `json:"addresses,omitempty"`
	VIPs      []netip.Addr  `json:"vips,omitempty"` // those planned; what floats is with the Failover
	// Interfaces are those on networks; Processes what [Lab.Fault] can be told to end.
	Interfaces []string `json:"interfaces,omitempty"`
	Processes  []string `json:"processes,omitempty"`
}

// ProcessStatus is the agent, a director, or one of the user's commands.
type ProcessStatus struct {
	What  string `json:"what"`
	PID   int    `json:"pid"`
	Alive bool   `json:"alive"`
	Log   string `json:"log"`
}

// ServiceStatus is a virtual service as planned.
type ServiceStatus struct {
	Name        string   `json:"name"`
	Key         string   `json:"key"`
	Scheduler   string   `json:"scheduler"`
	Directors   []string `json:"directors"`
	RealServers []string `json:"realServers"`
}

// GroupStatus is a failover group, and who has its addresses.
type GroupStatus struct {
	Name      string       `json:"name"`
	Directors []string     `json:"directors"` // the preferred one first
	Addresses []netip.Addr `json:"addresses"`
	Holders   []string     `json:"holders"` // see [Lab.Holders]
	Error     string       `json:"error,omitempty"`
}

// groupStatus looks who has a group's addresses now.
func groupStatus(l *Lab, g *topology.Group) GroupStatus {
	s := GroupStatus{Name: g.Name}
	for _, m := range g.Members {
		s.Directors = append(s.Directors, m.Node)
	}
	for _, r := range g.Routers {
		for _, a := range r.Addresses {
			s.Addresses = append(s.Addresses, a.Addr)
		}
	}
	holders, err := l.Holders(g.Name)
	if s.Holders = holders; err != nil {
		s.Error = err.Error()
	}
	return s
}

// ReadStatus reads what is recorded of a lab and looks whether it is still
// there. Unlike Load it takes a half-made lab too. ErrNotExist: there is none.
func ReadStatus(name string) (*Status, error) {
	st, dir, err := readState(name)
	if err != nil {
		return nil, fmt.Errorf("status of lab %s: %w", name, err)
	}
	s := &Status{Name: name, Phase: string(st.Phase), Created: st.Created, Source: st.Plan.Source, Directory: dir, Faults: st.Faults}
	for i := range st.Plan.Nodes {
		node := &st.Plan.Nodes[i]
		ns := NodeStatus{Name: node.Name, Role: node.Role, Namespace: nsName(name, node.Name), Addresses: nodeAddrs(node), VIPs: nodeVIPs(node)}
		ns.describe(node, st.hasDirector(node.Name))
		if open, err := netns.Open(ns.Namespace); err == nil {
			ns.Present = st.Boot == bootID()
			open.Close() // opened for reading, nothing to lose
		}
		s.Nodes = append(s.Nodes, ns)
	}
	s.Directors = directorStatus(st)
	for _, p := range st.Processes {
		s.Processes = append(s.Processes, ProcessStatus{What: p.What, PID: p.PID, Alive: p.alive(), Log: p.Log})
	}
	for _, v := range st.Plan.Services {
		s.Services = append(s.Services, ServiceStatus{
			Name: v.Name, Key: v.Spec.Key.String(), Scheduler: v.Spec.Scheduler, Directors: v.Directors, RealServers: v.RealServers,
		})
	}
	for i := range st.Plan.Failover {
		s.Failover = append(s.Failover, groupStatus(&Lab{plan: st.Plan, dir: dir}, &st.Plan.Failover[i]))
	}
	return s, nil
}

// Status is ReadStatus of this lab.
func (l *Lab) Status() (*Status, error) { return ReadStatus(l.plan.Name) }

// describe says what there is of a node that a fault can be about.
func (s *NodeStatus) describe(node *topology.Node, hasDirector bool) {
	for _, i := range node.Interfaces {
		if i.Kind == topology.VethIface {
			s.Interfaces = append(s.Interfaces, i.Name)
		}
	}
	s.Processes = node.Processes(hasDirector)
}
