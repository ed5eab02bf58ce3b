package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/topology"
)

// helper is what this binary does when a test starts it as another process:
// bring a lab up or down, as the command does, or look into one of its nodes.
func helper() {
	verb, name := os.Getenv("LAB_TEST_VERB"), os.Getenv("LAB_TEST_NAME")
	if verb == "" {
		return
	}
	os.Unsetenv("LAB_TEST_VERB") // not for the agent
	var err error
	switch verb {
	case "down":
		_, err = lab.Down(context.Background(), name)
	case "visit":
		err = visit(name, true)
	case "stay":
		err = visit(name, false)
	default:
		var p *topology.Plan
		if p, _, err = topology.Open("testdata/nat.yaml", name); err == nil {
			p.Nodes[2].Commands = []topology.Command{{Name: "sleep", Argv: []string{"sleep", "1000"}}}
			_, err = lab.Up(context.Background(), p, lab.Options{Agent: lab.Detached, NoServices: true})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// visit is in a node with one thread, and says so; until the node's name is
// gone, or for ever.
func visit(name string, leaves bool) error {
	l, err := lab.Load(name)
	if err != nil {
		return err
	}
	client, err := l.Node("client")
	if err != nil {
		return err
	}
	return client.Do(func() error {
		fmt.Println("in")
		for range time.Tick(time.Millisecond) {
			if _, err := os.Stat(netns.Path(client.Namespace())); leaves && errors.Is(err, fs.ErrNotExist) {
				break
			}
		}
		return nil
	})
}

func helperCommand(t *testing.T, verb, name string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), "LAB_TEST_VERB="+verb, "LAB_TEST_NAME="+name)
	out := &bytes.Buffer{}
	cmd.Stderr = out
	return cmd, out
}

// runHelper brings a lab up or down in another process and tells how long it took.
func runHelper(t *testing.T, verb, name string) time.Duration {
	t.Helper()
	start := time.Now()
	cmd, out := helperCommand(t, verb, name)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", verb, err, out)
	}
	return time.Since(start)
}

// killHelper starts to bring a lab up or down, and kills that after a while.
func killHelper(t *testing.T, verb, name string, after time.Duration) {
	t.Helper()
	cmd, out := helperCommand(t, verb, name)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) && exit.Exited() {
		t.Fatalf("%s: %v\n%s", verb, err, out)
	}
}

// SIGKILL at 100 random moments of up and down; `down` must then end whatever
// there is, and `up` must find its way clear.
func TestKilled(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	name := labName("killed")
	t.Cleanup(func() {
		if _, err := lab.Down(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	upTakes := runHelper(t, "up", name)
	downTakes := runHelper(t, "down", name)
	nothingLeft(t, dir, name)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d; up takes %v, down %v", seed, upTakes, downTakes)
	random := rand.New(rand.NewPCG(seed, 0))
	moment := func(takes time.Duration) time.Duration { return time.Duration(random.Int64N(int64(takes * 11 / 10))) }
	moments := 100
	if testing.Short() {
		moments = 10
	}
	for i := range moments {
		switch i % 3 {
		case 0:
			killHelper(t, "up", name, moment(upTakes))
		case 1: // the next one has to clear up after it
			killHelper(t, "up", name, moment(upTakes))
			if names, err := lab.List(); err == nil && len(names) == 1 {
				if _, err := lab.Load(name); err == nil {
					break // the kill came too late
				}
			}
			runHelper(t, "up", name)
			if _, err := lab.Load(name); err != nil {
				t.Fatal(err)
			}
		case 2:
			runHelper(t, "up", name)
			killHelper(t, "down", name, moment(downTakes))
		}
		if _, err := lab.Down(t.Context(), name); err != nil {
			t.Fatalf("moment %d: %v", i, err)
		}
		nothingLeft(t, dir, name)
		if t.Failed() {
			t.Fatalf("after moment %d", i)
		}
	}
}
