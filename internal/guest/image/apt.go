package image

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// apt runs apt's programs as this user. It never needs root: it resolves and
// downloads, but installs nothing.
type apt struct {
	private string // directory with package lists of our own; empty: the system's
}

// options keep apt from the system's state. Without a sandbox user, apt run by
// root can write the directories that it is given.
func (a apt) options() []string {
	opts := []string{"-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1"}
	if a.private != "" {
		opts = append(opts,
			"-o", "Dir::State="+filepath.Join(a.private, "state"),
			"-o", "Dir::State::lists="+filepath.Join(a.private, "lists"),
			"-o", "Dir::State::status=/var/lib/dpkg/status",
			"-o", "Dir::Cache="+filepath.Join(a.private, "cache"),
		)
	}
	return opts
}

// commandError is a program of the package manager that failed.
type commandError struct {
	Command string
	Output  string // what it said, its last lines
	Err     error
}

func (e *commandError) Error() string {
	s := fmt.Sprintf("%s: %v", e.Command, e.Err)
	if e.Output != "" {
		s += ":\n" + e.Output
	}
	return s
}

func (e *commandError) Unwrap() error { return e.Err }

// run runs the program in dir and returns its standard output. Its language
// is pinned, since some of its answers are read.
func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 3 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		said := stderr.String()
		if strings.TrimSpace(said) == "" {
			said = stdout.String()
		}
		return nil, &commandError{Command: name + " " + args[len(args)-1], Output: lastLines(said, 6), Err: err}
	}
	return stdout.Bytes(), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// record is what apt knows about the version of a package that it would get.
type record struct {
	name, version string
	size          int64 // to download, in bytes
	installed     int64 // unpacked, in bytes
	depends       []string
}

// show is false for a package that apt's lists do not have.
func (a apt) show(ctx context.Context, name string) (record, bool, error) {
	out, err := run(ctx, "", "apt-cache", append(a.options(), "show", "--no-all-versions", name)...)
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && ctx.Err() == nil {
			return record{}, false, nil // "E: No packages found"
		}
		return record{}, false, err
	}
	r := parseRecord(out)
	return r, r.size > 0, nil // without a size it is known as installed only, not to be had
}

// parseRecord reads the first stanza of a control file; deb-control(5).
func parseRecord(stanza []byte) record {
	var r record
	s := bufio.NewScanner(bytes.NewReader(stanza))
	s.Buffer(nil, 1<<20)
	for s.Scan() && s.Text() != "" {
		key, value, _ := strings.Cut(s.Text(), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Package":
			r.name = value
		case "Version":
			r.version = value
		case "Size":
			r.size, _ = strconv.ParseInt(value, 10, 64)
		case "Installed-Size": // in KiB
			kib, _ := strconv.ParseInt(value, 10, 64)
			r.installed = kib << 10
		case "Depends":
			for dep := range strings.SplitSeq(value, ",") {
				if fields := strings.Fields(dep); len(fields) > 0 {
					r.depends = append(r.depends, fields[0])
				}
			}
		}
	}
	return r
}

// listsAge is how long lists of our own are good without being asked about again.
const listsAge = 6 * time.Hour

// fresh says that the private directory holds lists fetched not long ago.
func (a apt) fresh() bool {
	st, err := os.Stat(filepath.Join(a.private, "updated"))
	return err == nil && time.Since(st.ModTime()) < listsAge
}

// update fetches package lists into the private directory.
func (a apt) update(ctx context.Context) error {
	for _, d := range []string{"state", "lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.private, d), 0o755); err != nil {
			return fmt.Errorf("make room for package lists: %w", err)
		}
	}
	if _, err := run(ctx, "", "apt-get", append(a.options(), "update")...); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.private, "updated"), nil, 0o644); err != nil {
		return fmt.Errorf("note the age of package lists: %w", err)
	}
	return nil
}

// download puts the packages into dir, each checked by apt against its list's
// checksum. What an earlier, interrupted download left there is resumed.
func (a apt) download(ctx context.Context, dir string, names ...string) error {
	args := append(a.options(), "-q", "download")
	_, err := run(ctx, dir, "apt-get", append(args, names...)...)
	return err
}

// closure is the package with all that it depends on, as if nothing were
// installed. The records hold names and sizes only.
func (a apt) closure(ctx context.Context, name string) ([]record, error) {
	args := append(a.options(), "-o", "Dir::State::status=/dev/null", "--no-install-recommends",
		"--print-uris", "-qq", "install", name)
	out, err := run(ctx, "", "apt-get", args...)
	if err != nil {
		return nil, err
	}
	var records []record
	for line := range strings.Lines(string(out)) {
		// 'URI' NAME_VERSION_ARCH.deb SIZE HASH
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		r := record{}
		r.name, _, _ = strings.Cut(fields[1], "_")
		r.size, _ = strconv.ParseInt(fields[2], 10, 64)
		r.installed = 4 * r.size // not said here; what packages of programs take on average, and more
		records = append(records, r)
	}
	return records, nil
}
