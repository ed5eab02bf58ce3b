package topology

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipvslab/ipvslab/lb/health"
)

// resolveDirectorPlans decides what runs each director.
func (p *planner) resolveDirectorPlans() {
	top := p.t.Director
	if top == nil {
		top = &DirectorSpec{}
	}
	files := p.directorFiles("director", top, "")
	for _, n := range p.nodes {
		own := n.spec.Director
		if own != nil && n.Role != Director && !p.broken(n.path) {
			p.errorf(n.path+".director", "give it role: director", "node %q has the role %s", n.Name, n.Role)
		}
		if n.Role != Director {
			continue
		}
		if own == nil {
			origin := Origin("")
			if p.t.Director == nil {
				origin = "role director: this program's own controller"
			}
			p.addDirector(n, "director", top, files, origin)
			continue
		}
		path := n.path + ".director"
		spec := *own
		spec.Kind = cmp.Or(own.Kind, top.Kind)
		p.addDirector(n, path, &spec, p.directorFiles(path, &spec, n.Name), "")
	}
	if p.t.Director != nil {
		p.checkDirector("director", top)
	}
}

func (p *planner) addDirector(n *node, path string, s *DirectorSpec, files map[string]string, origin Origin) {
	if path != "director" {
		p.checkDirector(path, s)
	}
	d := DirectorPlan{
		Node: n.Name, Kind: cmp.Or(s.Kind, Embedded), Program: p.program(s.Program), Argv: s.Argv, Dir: s.Dir, Origin: origin,
		Lax: p.allow[string(DirectorConfig)],
	}
	file, ok := files[n.Name]
	if !ok {
		file = files[""]
	}
	switch d.Kind {
	case Keepalived:
		d.Config = file
	case Ipvsadm:
		d.Rules = file
	}
	if d.Kind == Keepalived || d.Kind == CommandDirector {
		d.Dir = p.beside(s.Dir)
	}
	d.Env = p.env(path+".env", s.Env)
	if s.Ready != (ReadySpec{}) {
		r := p.ready(path+".ready", s.Ready)
		d.Ready = &r
	}
	p.plan.Directors = append(p.plan.Directors, d)
}

// beside is a path from the topology file's directory.
func (p *planner) beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(p.t.source), path)
}

// program is a program's path; a bare name is looked for in the PATH.
func (p *planner) program(name string) string {
	if name == "" || filepath.Base(name) == name {
		return name
	}
	return p.beside(name)
}

// directorFiles are the file of each node that has one of its own, and that of
// all others under the empty name.
func (p *planner) directorFiles(path string, s *DirectorSpec, owner string) map[string]string {
	path, from := path+".config", s.Config
	if s.Kind == Ipvsadm {
		path, from = strings.TrimSuffix(path, "config")+"rules", s.Rules
	}
	files := map[string]string{}
	if from.All != "" {
		files[""] = p.beside(from.All)
	}
	for _, e := range from.Each {
		at := join(path, e.Key)
		if owner != "" {
			p.errorf(at, "say the file alone", "a file for node %q, in what is said of node %q alone", e.Key, owner)
			continue
		}
		for _, n := range p.lookup(at, e.Key) {
			if n.Role != Director && !p.broken(n.path) {
				p.errorf(at, "name directors", "node %q has the role %s", n.Name, n.Role)
			}
			files[n.Name] = p.beside(e.Value)
		}
	}
	return files
}

// checkDirector finds what does not go with the kind.
func (p *planner) checkDirector(path string, s *DirectorSpec) {
	kind := cmp.Or(s.Kind, Embedded)
	for _, f := range []struct {
		key  string
		said bool
		with []DirectorKind
	}{
		{"config", s.Config.All != "" || len(s.Config.Each) > 0, []DirectorKind{Keepalived}},
		{"rules", s.Rules.All != "" || len(s.Rules.Each) > 0, []DirectorKind{Ipvsadm}},
		{"program", s.Program != "", []DirectorKind{Keepalived, Ipvsadm}},
		{"argv", len(s.Argv) > 0, []DirectorKind{CommandDirector}},
		{"dir", s.Dir != "", []DirectorKind{Keepalived, CommandDirector}},
		{"env", len(s.Env) > 0, []DirectorKind{Keepalived, CommandDirector}},
		{"ready", s.Ready != ReadySpec{}, []DirectorKind{Keepalived, CommandDirector}},
	} {
		if f.said && !slices.Contains(f.with, kind) && !p.broken(path+".kind") {
			p.errorf(path+"."+f.key, "allowed with kind: "+kindList(f.with), "%s with a director of kind %s", f.key, kind)
		}
	}
	if kind == CommandDirector && (len(s.Argv) == 0 || s.Argv[0] == "") && !p.broken(path) {
		p.errorf(path, "say argv: [program, argument, ...]", "a command without program")
	}
	if s.Ready.Exit {
		p.errorf(path+".ready.exit", "take kind: ipvsadm, or run:, for what ends", "a director runs as long as the lab")
	}
}

func kindList(kinds []DirectorKind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, " or ")
}

// lintDirector finds what a director's program can't do for the services that it carries.
func (p *planner) lintDirector(n *node) {
	d := p.plan.DirectorOf(n.Name)
	if d == nil {
		return
	}
	p.lintFailoverDirector(n, d)
	for _, s := range n.carries {
		p.lintCheck(n, d, s.path+".check", s.Check)
		for i, own := range s.OwnChecks {
			path := s.path + ".check"
			if len(s.dests[i].checks) > 0 {
				path = s.dests[i].path + ".check"
			}
			for j := range own {
				p.lintCheck(n, d, path, &own[j])
			}
		}
	}
}

func (p *planner) lintCheck(n *node, d *DirectorPlan, path string, c *health.Check) {
	switch {
	case c == nil || d.Kind == Embedded || d.Kind == CommandDirector:
	case d.Kind == Ipvsadm:
		p.warn(DirectorCannot, path, "take director: embedded or keepalived",
			"director %q only sets the table: a rules file checks nothing", n.Name)
	case d.Config != "":
		// The user's own file says what is checked.
	case c.Kind == health.GRPC:
		p.warn(DirectorCannot, path, "take director: embedded, or check: {command: ...}",
			"keepalived on director %q has no check for grpc: the real servers count as up", n.Name)
	case c.Rise > 1:
		p.warn(DirectorCannot, path+".rise", "take director: embedded, or leave it out",
			"keepalived on director %q brings a real server up after one success", n.Name)
	}
}

// lintFailoverDirector finds what a director's program can't do in its failover groups.
func (p *planner) lintFailoverDirector(n *node, d *DirectorPlan) {
	following := 0
	for _, g := range p.failover {
		if !g.has(n) {
			continue
		}
		if g.Sync != nil {
			following++
		}
		if g.StartActive && g.rank(n) == 0 && d.Kind == Keepalived && d.Config == "" {
			p.warn(DirectorCannot, g.path+".start", "leave it out, or take director: embedded",
				"keepalived on director %q waits for others when it starts, with state MASTER, too", n.Name)
		}
		switch {
		case d.Kind == Ipvsadm:
			p.report(DirectorCannot, Error, g.path+".directors", "take director: embedded or keepalived",
				"director %q only sets a table: it speaks no VRRP and takes nothing over", n.Name)
		case d.Kind != Keepalived || d.Config != "":
		case g.Sync != nil && g.Sync.Mode == SyncBoth:
			p.warn(DirectorCannot, g.path+".sync", "take mode: follow, or director: embedded",
				"keepalived on director %q starts the sync daemon that fits its state, never both", n.Name)
		case following > 1:
			p.warn(DirectorCannot, g.path+".sync", "synchronise one group, or take director: embedded",
				"keepalived on director %q has one sync daemon, which follows another group", n.Name)
		}
	}
}
