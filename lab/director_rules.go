package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/topology"
)

// applyRules fills a director's table from a rules file: the user's, or one
// made of the services.
func (b *builder) applyRules(ctx context.Context, d *topology.DirectorPlan) error {
	if err := b.restoreRules(ctx, d); err != nil {
		return fmt.Errorf("director of node %s (%s): %w", d.Node, d.Kind, err)
	}
	return nil
}

func (b *builder) restoreRules(ctx context.Context, d *topology.DirectorPlan) error {
	node, err := b.Node(d.Node)
	if err != nil {
		return err
	}
	var rules []byte
	file := b.beside(d.Rules)
	if file != "" {
		rules, err = os.ReadFile(file)
	} else {
		file = filepath.Join(directorDir(b.dir, d.Node), rulesFile)
		if rules, err = b.generatedRules(d.Node); err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), writeFile(file, rules))
		}
	}
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	if len(rules) == 0 {
		return nil
	}
	var said bytes.Buffer
	status, err := node.restore(ctx, d.Program, rules, &said)
	if err != nil {
		return err
	}
	if status != 0 || said.Len() > 0 {
		return fmt.Errorf("the rules in %s were not all accepted (status %d):\n%s", file, status, indent(said.String()))
	}
	look := b.tableLook(d, node, inTableAsChecked)
	if err := look(ctx); err != nil && d.Rules == "" {
		return err
	}
	return nil
}

// restore hands rules to a program, or to this one's own ipvsadm.
func (n *Node) restore(ctx context.Context, program string, rules []byte, said io.Writer) (int, error) {
	if program != "" {
		argv := []string{program, "-R"}
		if filepath.Base(program) == "ipvsadm-restore" {
			argv = argv[:1]
		}
		return n.Exec(ctx, ExecSpec{Argv: argv, Stdin: bytes.NewReader(rules), Stdout: said, Stderr: said})
	}
	table, err := n.Table(ctx)
	if err != nil {
		return 0, err
	}
	env := ipvsadm.Env{Table: table, Stdin: bytes.NewReader(rules), Stdout: said, Stderr: said}
	status := ipvsadm.RunRestore(ctx, env, []string{"ipvsadm-restore"})
	return status, table.Close()
}

// generatedRules are the services of a director as a rules file.
func (b *builder) generatedRules(node string) ([]byte, error) {
	var out bytes.Buffer
	// What a rules file can't hold shows in the table, which is compared.
	if _, err := ipvsadm.Export(&out, carried(b.plan, node), ipvsadm.Rules, ipvsadm.ExportOptions{Thresholds: true}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}
