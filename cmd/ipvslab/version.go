package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by the linker in releases.
var version = "devel"

// build is what a binary knows of its origin.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func buildInfo() build {
	return build{version, revision(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
}

// String leaves out what is not known.
func (b build) String() string {
	return strings.Join(strings.Fields(b.Version+" "+b.Revision+" "+b.Go+" "+b.Platform), " ")
}

func newVersion(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.printJSON(buildInfo())
			}
			fmt.Fprintln(a.out, "ipvslab", buildInfo())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// revision is the commit that the binary was built from, as the toolchain recorded it.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
