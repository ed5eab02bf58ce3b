package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/internal/launch"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
	"github.com/ipvslab/ipvslab/topology"
)

// importing is a call of the command import.
type importing struct {
	*app
	from, file, director string
	strict               bool
}

func newImport(a *app) *cobra.Command {
	i := importing{app: a}
	c := &cobra.Command{
		Use:   "import RULES|- | --from [LAB/]NODE",
		Short: "Turn a saved rules file, or a running table, into a topology's services",
		Long: `Import prints the services of a topology file (YAML) that are those of a rules
file as ipvsadm-save writes it, of standard input (-), or of the table of a
running director (--from). With --for FILE the real servers have that
topology's names, and known services theirs. What a topology can't hold is
told on standard error, a line each.`,
		Example: "  ipvslab import /etc/sysconfig/ipvsadm --for lab.yaml\n  ipvslab import --from article/master",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case (len(args) == 1) == (i.from != ""):
				return usageError{errors.New("import services: name a rules file, - for standard input, or --from NODE; one of them")}
			case i.from != "":
				return i.table(c.Context())
			}
			return i.rules(args[0])
		},
	}
	c.Flags().StringVar(&i.from, "from", "", "read the table of this running director: [LAB/]NODE")
	c.Flags().StringVar(&i.file, "for", "", "the topology file that the services are for")
	c.Flags().StringVar(&i.director, "node", "", "the director of that file that is to carry them, if not the first")
	c.Flags().BoolVar(&i.strict, "strict", false, "write nothing and fail if something would be lost")
	return c
}

// options are the names in the file that the services are for.
func (i *importing) options() (ipvsadm.ExportOptions, error) {
	if i.file == "" {
		return ipvsadm.ExportOptions{}, nil
	}
	plan, err := i.openPlan(i.file, "")
	if err != nil {
		return ipvsadm.ExportOptions{}, err
	}
	director, err := pickDirector(plan, i.director)
	if err != nil {
		return ipvsadm.ExportOptions{}, usageError{fmt.Errorf("import for %s: %w", i.file, err)}
	}
	return exportOptions(plan, director), nil
}

// rules imports a rules file.
func (i *importing) rules(path string) error {
	opt, err := i.options()
	if err != nil {
		return err
	}
	in, name := io.NopCloser(i.in), "standard input"
	if path != "-" {
		if in, err = ipvsadm.OpenRules(path); err != nil {
			return usageError{err}
		}
		name = path
	}
	defer in.Close()
	services, err := ipvsadm.ReadRules(in, nil, &ipvsadm.Files{})
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(i.err, "%s: %s\n", name, strings.TrimSuffix(line, "\n"))
		}
		return launch.ExitStatus(exitUsage)
	}
	return i.writeServices(services, ipvsadm.YAML, opt, i.strict)
}

// table imports from a running director; its lab knows the names, unless a
// file was named.
func (i *importing) table(ctx context.Context) error {
	opt, err := i.options()
	if err != nil {
		return err
	}
	return i.liveTable(ctx, i.from, i.argv, func(plan *topology.Plan, director string, services []lb.Service) error {
		if i.file == "" {
			opt = exportOptions(plan, director)
		}
		return i.writeServices(services, ipvsadm.YAML, opt, i.strict)
	})
}

func (i *importing) argv(ref string) []string {
	return []string{"import", "--from", ref, "--for", i.file, "--node", i.director, fmt.Sprintf("--strict=%t", i.strict)}
}
