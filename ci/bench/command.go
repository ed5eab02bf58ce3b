package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// timed runs whole processes one after the other and takes their time.
func timed(ctx context.Context, commands ...[]string) (time.Duration, error) {
	start := time.Now()
	for _, argv := range commands {
		if _, err := output(ctx, argv...); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// output runs a command; a failure tells what it wrote to its standard error.
func output(ctx context.Context, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", strings.Join(argv, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

// errNotRoot is why nothing can be measured in this machine's own kernel.
var errNotRoot = errors.New("making network namespaces in this machine's own kernel takes root; run as root")

func needRoot() error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	return nil
}
