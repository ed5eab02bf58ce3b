package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/director"
	"github.com/ipvslab/ipvslab/internal/probe"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/oracle"
)

// facts are what a kernel shows of itself, from the inside.
type facts struct {
	Report  probe.Report   `json:"report"`
	Variant oracle.Variant `json:"variant"`
	Unknown string         `json:"unknown,omitempty"` // why the rules could not be found out
	// MostUpper is the largest upper threshold that the kernel takes of those tried.
	MostUpper uint32            `json:"mostUpper"`
	Sysctls   map[string]string `json:"sysctls"` // below net, with the defaults of a new namespace
}

// sysctlRoots are whose settings are compared.
var sysctlRoots = []string{"net/ipv4/vs"}

// look examines the running kernel.
func look(ctx context.Context) facts {
	f := facts{Report: probe.Probe(ctx), Sysctls: map[string]string{}}
	if err := f.rules(ctx); err != nil {
		f.Unknown = err.Error()
	}
	return f
}

// rules runs the experiment, and reads the settings of a fresh director.
func (f *facts) rules(ctx context.Context) error {
	p, err := director.NewProber(ctx, func(path string) (lb.Table, error) { return ipvs.Open(ctx, path) })
	if err != nil {
		return err
	}
	defer p.Close()
	if f.Variant, err = oracle.Detect(p); err != nil {
		return err
	}
	for _, upper := range []uint32{math.MaxInt32, math.MaxUint32} {
		if p.Set(lb.Destination{DestKey: p.Dests()[0], Weight: 1, Upper: upper}) == nil {
			f.MostUpper = upper
		}
	}
	d, err := director.Open()
	if err != nil {
		return err
	}
	defer d.Close()
	for _, root := range sysctlRoots {
		err := fs.WalkDir(os.DirFS("/proc/sys"), root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			value, err := d.ReadFile(filepath.Join("/proc/sys", path))
			if err != nil {
				value = []byte("not readable")
			}
			f.Sysctls[strings.ReplaceAll(path, "/", ".")] = string(bytes.TrimSpace(value))
			return nil
		})
		if err != nil {
			return fmt.Errorf("list settings: %w", err)
		}
	}
	return nil
}

// bootLimit is ample for a boot under QEMU on a busy machine.
const bootLimit = 3 * time.Minute

// lookInside has this program look at a kernel.
func lookInside(ctx context.Context, o options, k kernel) (f facts, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, fmt.Errorf("find this program: %w", err)
	}
	ctx, stop := context.WithTimeout(ctx, bootLimit)
	defer stop()
	cmd := guest(ctx, o, k, self, "-inside")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return f, fmt.Errorf("%w: %s", err, strings.TrimSpace(errs.String()))
	}
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		return f, fmt.Errorf("read what the kernel tells: %w", err)
	}
	return f, nil
}

// guest is a command in a kernel.
func guest(ctx context.Context, o options, k kernel, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, o.binary, append([]string{"--kernel", k.Image.Path, "kernel", "exec", "--"}, argv...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
