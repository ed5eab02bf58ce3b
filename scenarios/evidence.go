package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/topology"
)

// gatherEvidence writes what the lab looks like right after a failure. What
// can't be had is said in its place: evidence must not hide the failure.
func (st *stage) gatherEvidence() {
	if st.lab == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(st.ctx), flushTimeout)
	defer cancel()
	dir := filepath.Join(st.opts.Artifacts, st.plan.Name, fileName(ginkgo.CurrentSpecReport().LeafNodeText))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		ginkgo.AddReportEntry(evidenceEntry, "could not be written: "+err.Error())
		return
	}
	files := map[string]func() (string, error){
		"tables.txt":    func() (string, error) { return st.listings(ctx), nil },
		"nodes.txt":     st.describeNodes,
		"sysctls.txt":   st.describeSysctls,
		"accepted.json": func() (string, error) { return st.describeAccepted(ctx) },
	}
	var failed []error
	for name, content := range files {
		text, err := content()
		if err != nil {
			text += "\nnot complete: " + err.Error() + "\n"
		}
		failed = append(failed, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	if len(st.captures) > 0 {
		failed = append(failed, st.captures.WriteFile(filepath.Join(dir, "packets.pcapng")))
	}
	ginkgo.AddReportEntry(evidenceEntry, dir)
	if err := errors.Join(failed...); err != nil {
		ginkgo.AddReportEntry(evidenceEntry, "not complete: "+err.Error())
	}
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

func fileName(spec string) string {
	return strings.Trim(notInNames.ReplaceAllString(spec, "-"), "-.")
}

// listings are the directors' tables and connection entries, as ipvsadm lists them.
func (st *stage) listings(ctx context.Context) string {
	var out bytes.Buffer
	if st.lab == nil {
		return "the lab is not up\n"
	}
	for _, n := range st.lab.Nodes() {
		if n.Plan().Role != topology.Director {
			continue
		}
		for _, line := range []string{"ipvsadm -Ln", "ipvsadm -Ln --stats", "ipvsadm -Lnc", "ipvsadm -L --timeout"} {
			fmt.Fprintf(&out, "%s# %s\n", n.Name(), line)
			if err := list(ctx, n, line, &out); err != nil {
				fmt.Fprintln(&out, err)
			}
			fmt.Fprintln(&out)
		}
	}
	return out.String()
}

func list(ctx context.Context, n *lab.Node, line string, out io.Writer) (err error) {
	table, err := n.Table(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	env := ipvsadm.Env{Table: table, Names: ipvsadm.NoNames{}, Stdout: out, Stderr: out}
	ipvsadm.Run(ctx, env, strings.Fields(line)) // its status says no more than its output
	return nil
}

func (st *stage) describeNodes() (string, error) {
	var out bytes.Buffer
	var errs []error
	for _, n := range st.lab.Nodes() {
		state, err := readNode(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(&out, "%s (%s)\n", n.Name(), n.Plan().Role)
		for name, l := range state.links {
			a := l.Attrs()
			fmt.Fprintf(&out, "  link %s %s MTU %d MAC %s %s addresses %v\n", name, l.Type(), a.MTU, a.HardwareAddr, a.OperState, state.addrs[name])
		}
		for _, r := range state.routes {
			fmt.Fprintf(&out, "  route %v\n", r)
		}
	}
	return out.String(), errors.Join(errs...)
}

func (st *stage) describeSysctls() (string, error) {
	var out bytes.Buffer
	for _, n := range st.lab.Nodes() {
		for _, s := range n.Plan().Sysctls {
			var got string
			err := n.Do(func() (err error) { got, err = rtnl.ReadSysctl(s.Key); return err })
			switch {
			case err != nil:
				got = err.Error()
			case got != s.Value:
				got += " (planned: " + s.Value + ")"
			}
			fmt.Fprintf(&out, "%s: %s = %s\n", n.Name(), s.Key, got)
		}
	}
	return out.String(), nil
}

func (st *stage) describeAccepted(ctx context.Context) (string, error) {
	log, err := st.lab.Accepted(ctx, 0)
	if err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(log, "", "  ")
	return string(text), err
}
