package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/lb"
)

// Options change what a plan is made for.
type Options struct {
	Name string // the lab's name; empty: the file's
}

// Plan resolves every name and writes every default out. It collects all
// problems, structural ones included; the plan is nil if one of them is an
// error. The same topology and options give the same plan on every machine.
func (t *Topology) Plan(opts Options) (*Plan, Problems) {
	p := &planner{
		t: t, nets: map[string]*Network{}, groups: map[string][]*node{}, byName: map[string]*node{},
		said: map[string]bool{}, allow: map[string]bool{}, problems: slices.Clone(t.problems),
		plan: &Plan{Name: opts.Name, Source: t.source},
	}
	for _, id := range t.Allow {
		p.allow[string(id)] = true
	}
	p.resolve()
	if p.problems.Err() == nil {
		p.fill()
	}
	if p.problems.Err() == nil {
		p.lint()
	}
	p.problems.sort()
	if p.problems.Err() != nil {
		return nil, p.problems
	}
	return p.plan, p.problems
}

// planner makes one plan, in three passes: resolve turns the file's items into
// the plan's and checks each, fill adds the roles' defaults, lint looks at the
// whole for what won't work or will surprise. A pass runs only if those before
// it found no error.
type planner struct {
	t        *Topology
	plan     *Plan
	problems Problems
	said     map[string]bool // one report per place and kind
	allow    map[string]bool // the file's allow

	nets     map[string]*Network
	nodes    []*node            // parallel to plan.Nodes
	byName   map[string]*node   // by the planned name
	groups   map[string][]*node // by the file's name: several with replicas
	services []*service         // parallel to plan.Services
	failover []*group           // parallel to plan.Failover
	floating map[netip.Addr]*group
	owners   map[netip.Addr]*node
	passing  []*node // see passers
	client   []*node // see clients
	sample   []*node // see clientSamples
	reached  map[reach][]step
	dests    int

	identity   map[string]bool // see identities
	ownServers bool
}

// node is a planned node beside what the file says of it.
type node struct {
	*Node
	spec    *NodeSpec
	path    string
	serves  []*destination    // for which services it is a real server
	carries []*service        // as a director
	ifPath  map[string]string // by interface name
}

// service is a planned service beside what the file says of it.
type service struct {
	*Service
	spec      *ServiceSpec
	path      string
	directors []*node
	group     *group         // with which its VIPs float, or nil
	dests     []*destination // parallel to Spec.Destinations
	sorry     *destination
	vips      []netip.Addr // its VIP, or those of its marks
}

// destination is one real server of a service.
type destination struct {
	svc  *service
	node *node
	path string
	lb.Destination
	checks List[CheckSpec] // its own
}

func (p *planner) resolve() {
	p.resolveName()
	p.resolveNetworks()
	p.resolveNodes()
	p.resolveFailover()
	p.resolveServices()
	p.resolveDirectorPlans()
	p.checkSysctls()
	p.floatVIPs()
	p.placeVIPs()
	p.checkVIPMasks()
	p.resolveScenarios()
}

func (p *planner) fill() {
	p.fillVIPs()
	p.fillTunnels()
	p.fillRoutes()
	p.fillSysctls()
	p.fillResponders()
}

func (p *planner) resolveName() {
	name := p.plan.Name
	path := ""
	if name == "" {
		name, path = p.t.Name, "name"
	}
	if name == "" {
		name = labName(p.t.source)
	}
	if !nodeName.MatchString(name) || len(name) > maxName {
		p.errorf(path, nameRule, "found the lab's name %q", name)
	}
	p.plan.Name = name
}

const nameRule = "allowed: letters, digits, _ and -, at most 63, the first a letter or digit"

// posOf is where a path was said, or else its nearest ancestor that was.
func (p *planner) posOf(path string) Pos {
	for {
		if pos, ok := p.t.pos[path]; ok {
			return pos
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return Pos{File: p.t.source}
		}
		path = path[:i]
	}
}

// errorf reports what can't be planned at all.
func (p *planner) errorf(path, hint, format string, args ...any) {
	p.report("", Error, path, hint, format, args...)
}

// report adds a problem, unless the same kind was reported at the same place
// (replicas share theirs). A failure mode that the file allows is reported one
// step milder: an error as a warning, a warning not at all.
func (p *planner) report(id FailureMode, s Severity, path, hint, format string, args ...any) {
	if p.allow[string(id)] {
		if s == Warning {
			return
		}
		s = Warning
	}
	kind := path + "\x00" + format
	if p.said[kind] || len(p.problems) > maxFaults {
		return
	}
	p.said[kind] = true
	p.problems = append(p.problems, Problem{
		Severity: s, Pos: p.posOf(path), Path: path, Message: fmt.Sprintf(format, args...), Hint: hint, ID: string(id),
	})
}

// choices is the hint of that name, unless enough has been reported.
func (p *planner) choices(got string, words []string) string {
	if len(p.problems) > maxFaults {
		return ""
	}
	return choices(got, words)
}

// broken tells whether the file's structure has a mistake at or below a path,
// so that nothing should be concluded from what is missing there.
func (p *planner) broken(path string) bool {
	for _, pr := range p.t.problems {
		if rest, ok := strings.CutPrefix(pr.Path, path); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
