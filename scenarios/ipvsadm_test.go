package scenarios_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ipvslab/ipvslab/lb/ipvs"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
)

// ipvsadmNames are programs in the PATH of directors that are commands, whose
// part this test's binary plays as ipvslab itself does.
var ipvsadmNames = []string{"ipvsadm", "ipvsadm-restore"}

// playIpvsadm ends this process if it was started as one of them.
func playIpvsadm() {
	run := ipvsadm.Run
	switch filepath.Base(os.Args[0]) {
	case "ipvsadm":
	case "ipvsadm-restore":
		run = ipvsadm.RunRestore
	default:
		return
	}
	table, err := ipvs.Open(context.Background(), "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	env := ipvsadm.Env{Table: table, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(run(context.Background(), env, os.Args)) // the table ends with the process
}
