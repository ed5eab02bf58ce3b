package story

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
)

// teller prints the story and carries its commands out.
type teller struct {
	cast   cast
	lab    *lab.Lab
	out    io.Writer
	color  bool
	silent bool
}

// The colours, as SGR parameters (ECMA-48).
const (
	bold  = "1"
	dim   = "2"
	green = "32"
	cyan  = "36"
)

func (t *teller) paint(sgr, text string) string {
	if !t.color {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

func (t *teller) print(text string) {
	if !t.silent {
		fmt.Fprintln(t.out, text)
	}
}

func (t *teller) title(n int, title string) {
	t.print("\n" + t.paint(bold, fmt.Sprintf("Step %d. %s", n, title)))
}

// say prints prose, wrapped.
func (t *teller) say(text string) { t.print(wrap(text, 88)) }

// why prints the one line that a step is about.
func (t *teller) why(text string) { t.print(t.paint(green, wrap("=> "+text, 88))) }

// command prints a command line at a node's prompt.
func (t *teller) command(node, line string) {
	t.print(t.paint(dim, node+"#") + " " + t.paint(cyan, line))
}

// result prints what a command wrote.
func (t *teller) result(text string) {
	if text = strings.TrimRight(text, "\n"); text != "" {
		t.print(text)
	}
}

func (t *teller) end() {
	t.silent = false
	t.print("\n" + t.paint(bold, "The lab stays up. To play on:"))
	// In a checkout it is `make lab` that plays the story, elsewhere the command.
	name, program, again := t.lab.Name(), "ipvslab", fmt.Sprintf("ipvslab tutorial --step %d %s", len(steps), filepath.Base(t.lab.Plan().Source))
	if _, err := os.Stat("bin/ipvslab"); err == nil {
		program, again = "bin/ipvslab", fmt.Sprintf("make lab STEP=%d", len(steps))
	}
	for _, hint := range [][2]string{
		{program + " shell " + name + "/" + t.cast.client, "a shell in the client; try curl http://" + t.cast.vip.String() + "/"},
		{program + " shell " + name + "/" + t.cast.master, "a shell in the director"},
		{program + " status " + name, "what is there"},
		{program + " down " + name, "the end"},
		{again, "again, from a step on"},
	} {
		t.print(fmt.Sprintf("  %-42s  %s", hint[0], hint[1]))
	}
}

// ipvsadm carries a command line out on the master's table and shows it with
// its output. It returns standard output, standard error and the exit status.
func (t *teller) ipvsadm(ctx context.Context, line, stdin string) (stdout, stderr string, status int, err error) {
	node, err := t.lab.Node(t.cast.master)
	if err != nil {
		return "", "", 0, err
	}
	table, err := node.Table(ctx)
	if err != nil {
		return "", "", 0, err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	var out, errs bytes.Buffer
	env := ipvsadm.Env{
		Table: table, Names: ipvsadm.NoNames{}, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
	}
	argv := strings.Fields(line)
	run := ipvsadm.Run
	switch argv[0] {
	case "ipvsadm-save":
		run = ipvsadm.RunSave
	case "ipvsadm-restore":
		run = ipvsadm.RunRestore
	}
	status = run(ctx, env, argv)
	return out.String(), errs.String(), status, nil
}

// must shows a command of ipvsadm that has to succeed, and returns its output.
func (t *teller) must(ctx context.Context, line string) (string, error) {
	t.command(t.cast.master, line)
	out, errs, status, err := t.ipvsadm(ctx, line, "")
	t.result(out + errs)
	if err == nil && status != 0 {
		err = notSeen("%q to succeed, it ended with status %d: %s", line, status, strings.TrimSpace(errs))
	}
	return out, err
}

// visit makes requests from the client; the spec's To says where.
func (t *teller) visit(ctx context.Context, spec traffic.Spec) (traffic.Result, error) {
	node, err := t.lab.Node(t.cast.client)
	if err != nil {
		return traffic.Result{}, err
	}
	if spec.Timeout == 0 {
		spec.Timeout = 20 * time.Second
	}
	return traffic.Run(ctx, node.Do, spec)
}

// wrap breaks text at spaces.
func wrap(text string, width int) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = "   " + word
			continue
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return strings.Join(append(lines, line), "\n")
}
