package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/embedded"
	"github.com/ipvslab/ipvslab/topology"
	"golang.org/x/sys/unix"
)

// directorName is the name under which this program is an embedded director.
const directorName = "ipvslab-director"

// directorWhat is what a director's process is called in the state.
func directorWhat(node string) string { return "director of node " + node }

// directorDir holds all that belongs to a node's director.
func directorDir(labDir, node string) string { return filepath.Join(labDir, "directors", node) }

// The files in a director's directory. Not every director has each of them.
const (
	directorLog      = "log"
	directorConfig   = "config.json"     // embedded
	directorSocket   = "control.sock"    // embedded
	directorMemory   = "owned.json"      // embedded: which services are its own
	keepalivedConfig = "keepalived.conf" // made of the services
	servicesFile     = "services.json"   // command: the services, as the plan has them
	rulesFile        = "rules.txt"       // command, ipvsadm: made of the services
)

// hasProcess tells whether a director is a process that stays: an embedded one
// without anything to watch sets its table once and is done, as is a rules file.
func hasProcess(plan *topology.Plan, d *topology.DirectorPlan) bool {
	switch d.Kind {
	case topology.CommandDirector:
		return true
	case topology.Keepalived: // without anything to do it would not stay
		return d.Config != "" || inGroup(plan, d.Node) || len(carried(plan, d.Node)) > 0
	case topology.Embedded:
		return inGroup(plan, d.Node) || slices.ContainsFunc(plan.HealthServices(d.Node), watched)
	}
	return false
}

// carried are the services that a director's table is to hold.
func carried(plan *topology.Plan, node string) []lb.Service {
	var out []lb.Service
	for _, s := range plan.Services {
		if slices.Contains(s.Directors, node) {
			out = append(out, s.Spec)
		}
	}
	return out
}

// startDirectors starts those that are processes.
func (b *builder) startDirectors(ctx context.Context) error {
	if b.opts.NoServices {
		return nil
	}
	for i := range b.plan.Directors {
		if d := &b.plan.Directors[i]; hasProcess(b.plan, d) {
			if err := b.startDirector(ctx, d); err != nil {
				return err
			}
		}
	}
	return b.awaitGroups(ctx)
}

// startDirector starts a director's process, records it, and returns when it is ready.
func (b *builder) startDirector(ctx context.Context, d *topology.DirectorPlan) error {
	err := b.runDirector(ctx, d)
	if err != nil {
		return fmt.Errorf("director of node %s (%s): %w", d.Node, d.Kind, err)
	}
	return nil
}

func (b *builder) runDirector(ctx context.Context, d *topology.DirectorPlan) error {
	node, err := b.Node(d.Node)
	if err != nil {
		return err
	}
	dir := directorDir(b.dir, d.Node)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create its directory: %w", err)
	}
	spec, err := b.directorSpec(d, dir)
	if err == nil {
		err = b.tryConfig(ctx, node, d, spec)
	}
	if err != nil {
		return err
	}
	ready := &readiness{node: node, log: filepath.Join(dir, directorLog), look: b.directorLook(d, node)}
	if d.Ready != nil {
		ready.Ready = *d.Ready
		if own := (topology.Ready{Within: d.Ready.Within}); own != *d.Ready {
			ready.look = nil // the user's condition, not only the user's deadline
		}
	}
	if err := b.launch(ctx, node, spec, directorWhat(d.Node), ready); err != nil {
		return err
	}
	return b.judgeLog(d, ready.log)
}

// directorSpec is how to start a director; the files it needs are written.
func (b *builder) directorSpec(d *topology.DirectorPlan, dir string) (ExecSpec, error) {
	spec := ExecSpec{Dir: b.beside(d.Dir)}
	for key, value := range d.Env {
		spec.Env = append(spec.Env, key+"="+value)
	}
	slices.Sort(spec.Env)
	switch d.Kind {
	case topology.Keepalived:
		return b.keepalivedSpec(d, dir, spec)
	case topology.CommandDirector:
		return b.commandSpec(d, dir, spec)
	case topology.Embedded:
		return b.embeddedSpec(d, dir, spec)
	}
	return spec, fmt.Errorf("a director of kind %q is no process", d.Kind)
}

// beside is a path of the plan's, seen from anywhere.
func (b *builder) beside(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(b.state.Base, path)
}

func (b *builder) embeddedSpec(d *topology.DirectorPlan, dir string, spec ExecSpec) (ExecSpec, error) {
	if !hooked {
		return spec, errNotHooked
	}
	config := filepath.Join(dir, directorConfig)
	data, err := json.Marshal(embeddedConfig(b.plan, d, dir))
	if err == nil {
		err = writeFile(config, data)
	}
	if err != nil {
		return spec, fmt.Errorf("write its configuration: %w", err)
	}
	spec.path, spec.Argv = "/proc/self/exe", []string{directorName, config}
	return spec, nil
}

// embeddedConfig is what an embedded director is told.
func embeddedConfig(plan *topology.Plan, d *topology.DirectorPlan, dir string) embedded.Config {
	cfg := embedded.Config{Node: d.Node, Control: filepath.Join(dir, directorSocket), Memory: filepath.Join(dir, directorMemory)}
	for _, s := range plan.Services {
		if slices.Contains(s.Directors, d.Node) {
			h := s.Health()
			cfg.Services = append(cfg.Services, embedded.Service{
				Name: s.Name, Spec: s.Spec, RealServers: s.RealServers,
				Check: h.Check, Own: h.Own, Quorum: h.Quorum, Hysteresis: h.Hysteresis, Sorry: h.Sorry, Target: h.Target,
			})
		}
	}
	for i := range plan.Failover {
		if at := memberOf(&plan.Failover[i], d.Node); at >= 0 {
			cfg.Groups = append(cfg.Groups, embeddedGroup(&plan.Failover[i], at))
		}
	}
	return cfg
}

// DirectorLog is what the node's director has said up to now, on standard output
// and standard error. An ipvsadm director has said nothing, and other nodes have no log:
// the error wraps [fs.ErrNotExist] then.
func (n *Node) DirectorLog() ([]byte, error) {
	log, err := os.ReadFile(filepath.Join(directorDir(n.lab.dir, n.Name()), directorLog))
	if err != nil {
		return nil, fmt.Errorf("read log of the director of node %s: %w", n.Name(), err)
	}
	return log, nil
}

// Director asks the node's embedded director; fs.ErrNotExist if it is not one
// that has a process.
func (n *Node) Director() (embedded.Client, error) {
	d := n.lab.plan.DirectorOf(n.Name())
	if d == nil || d.Kind != topology.Embedded || !hasProcess(n.lab.plan, d) {
		return embedded.Client{}, fmt.Errorf("node %s has no embedded director with a process: %w", n.Name(), os.ErrNotExist)
	}
	return n.embedded(), nil
}

// embedded asks it whether or not it needs a process by the plan.
func (n *Node) embedded() embedded.Client {
	return embedded.Client{Socket: filepath.Join(directorDir(n.lab.dir, n.Name()), directorSocket)}
}

// vips are the virtual addresses of the services that a director carries, each once.
func vips(plan *topology.Plan, node string) []string {
	var out []string
	for _, s := range plan.HealthServices(node) {
		if a := s.Target.Addr; a.IsValid() && !slices.Contains(out, a.String()) {
			out = append(out, a.String())
		}
	}
	return out
}

// commandSpec gives a program of the user's the services as files.
func (b *builder) commandSpec(d *topology.DirectorPlan, dir string, spec ExecSpec) (ExecSpec, error) {
	var names []topology.Service
	for _, s := range b.plan.Services {
		if slices.Contains(s.Directors, d.Node) {
			names = append(names, s)
		}
	}
	if names == nil {
		names = []topology.Service{}
	}
	data, err := json.MarshalIndent(names, "", "  ")
	if err == nil {
		err = writeFile(filepath.Join(dir, servicesFile), data)
	}
	if err != nil {
		return spec, fmt.Errorf("write its services: %w", err)
	}
	rules, err := b.generatedRules(d.Node)
	if err == nil {
		err = writeFile(filepath.Join(dir, rulesFile), rules)
	}
	if err != nil {
		return spec, fmt.Errorf("write its rules: %w", err)
	}
	bin, err := b.ProgramDir()
	if err != nil {
		return spec, err
	}
	spec.Argv = d.Argv
	given := []string{
		"IPVSLAB_SERVICES=" + filepath.Join(dir, servicesFile),
		"IPVSLAB_RULES=" + filepath.Join(dir, rulesFile),
		"IPVSLAB_VIPS=" + strings.Join(vips(b.plan, d.Node), " "),
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"),
	}
	spec.Env = append(given, spec.Env...) // the user's own come last, and win
	return spec, nil
}

// ProgramDir is a directory in which this program has the names that Hook was told.
func (l *Lab) ProgramDir() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	dir := filepath.Join(l.dir, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a directory of programs: %w", err)
	}
	for _, name := range programs {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("make a directory of programs: %w", err)
		}
	}
	return dir, nil
}

// runEmbedded is an embedded director's main; it ends with SIGTERM.
func runEmbedded() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, syscall.SIGINT)
	cfg, err := embedded.ReadConfig(os.Args[1])
	if err == nil {
		err = embedded.Run(ctx, cfg, embedded.Options{Log: os.Stdout})
	}
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "ipvslab director:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
