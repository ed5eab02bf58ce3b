package ipvsadm

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
)

// RunSave is ipvsadm-save(8): the table as a rules file on standard output.
func RunSave(ctx context.Context, env Env, argv []string) int {
	save := []string{"ipvsadm", "-S"}
	for _, a := range argv[min(1, len(argv)):] {
		switch {
		case a == "-n":
			save = []string{"ipvsadm", "-S", "-n"}
		case strings.HasPrefix(a, "-"):
			newTool(env, "").complain(filepath.Base(argv[0]) + ": Script to save the IPVS table to stdout.\n" +
				"   With the -n option, prints out the table in numeric format.")
			return statusFailed
		}
	}
	return Run(ctx, env, save)
}

// RunRestore is ipvsadm-restore(8): it empties the table and carries out the
// rules file on standard input, without its lines that start with "#".
func RunRestore(ctx context.Context, env Env, _ []string) int {
	t := newTool(env, "ipvsadm")
	text, err := io.ReadAll(t.Stdin)
	if err != nil {
		t.complain("read rules: " + err.Error())
		return statusFailed
	}
	Run(ctx, env, []string{"ipvsadm", "-C"}) // what it says is said; the rules are tried all the same
	text = append(bytes.TrimRight(withoutComments(text), "\n"), '\n')
	env.Stdin = bytes.NewReader(text)
	return Run(ctx, env, []string{"ipvsadm", "-R"})
}
