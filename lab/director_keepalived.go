package lab

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/health"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/topology"
)

// The files in which keepalived keeps its processes' numbers: one set for each
// director, or a second keepalived would take itself for running.
const (
	keepalivedPID = "keepalived.pid"
	vrrpPID       = "vrrp.pid"
	checkersPID   = "checkers.pid"
	bfdPID        = "bfd.pid"
)

// keepalivedSpec is how to start keepalived(8): in the foreground, with its log
// on standard error.
func (b *builder) keepalivedSpec(d *topology.DirectorPlan, dir string, spec ExecSpec) (ExecSpec, error) {
	program, err := findKeepalived(b.beside(d.Program))
	if err != nil {
		return spec, err
	}
	config, err := b.keepalivedFile(d, dir)
	if err != nil {
		return spec, err
	}
	spec.Argv = []string{program, "--dont-fork", "--log-console", "--use-file", config, "--config-id", d.Node}
	for _, f := range []struct{ flag, name string }{
		{"--pid", keepalivedPID}, {"--vrrp_pid", vrrpPID}, {"--checkers_pid", checkersPID}, {"--bfd_pid", bfdPID},
	} {
		path := filepath.Join(dir, f.name)
		// What a killed one left would make this one look ready.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return spec, fmt.Errorf("remove old process number: %w", err)
		}
		spec.Argv = append(spec.Argv, f.flag, path)
	}
	return spec, nil
}

// keepalivedFile is the configuration: the user's, or one made of the services
// and written anew.
func (b *builder) keepalivedFile(d *topology.DirectorPlan, dir string) (string, error) {
	if d.Config != "" {
		config := b.beside(d.Config)
		if _, err := os.Stat(config); err != nil {
			return "", fmt.Errorf("read its configuration: %w", err)
		}
		return config, nil
	}
	config := filepath.Join(dir, keepalivedConfig)
	text, err := b.keepalivedText(d.Node)
	if err == nil {
		err = writeFile(config, text)
	}
	if err != nil {
		return "", fmt.Errorf("write its configuration: %w", err)
	}
	return config, nil
}

// findKeepalived finds the program that the file names, or keepalived.
func findKeepalived(program string) (string, error) {
	path, err := probe.Program(cmp.Or(program, "keepalived"))
	if err != nil {
		return "", fmt.Errorf("%w: %w; install the package keepalived, "+
			"say director: {kind: keepalived, program: PATH}, or take director: embedded", ErrStart, err)
	}
	return path, nil
}

// keepalivedText is a configuration made of the services.
func (b *builder) keepalivedText(node string) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Made by ipvslab of the services of director %s.\n", node)
	fmt.Fprintf(&out, "global_defs {\n    router_id %s\n    script_user root\n", node)
	keepalivedGlobals(&out, b.plan, node)
	fmt.Fprint(&out, "}\n\n")
	keepalivedGroups(&out, b.plan, node)
	services := b.plan.HealthServices(node)
	checks := func(k lb.Key) *health.Service {
		for i := range services {
			if services[i].Spec.Key == k {
				return &services[i]
			}
		}
		return nil
	}
	_, err := ipvsadm.Export(&out, carried(b.plan, node), ipvsadm.Keepalived, ipvsadm.ExportOptions{Health: checks})
	return out.Bytes(), err
}
