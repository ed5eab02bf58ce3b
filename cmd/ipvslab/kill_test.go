package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Bounds of TestKilled.
const killMoments = 50 // in each of two places at once

var killTime = flag.Duration("kill.for", 20*time.Second, "how long to kill at random, if not all moments have come by then")

// TestKilled kills the command that the user sees, or the guest's supervisor,
// at random moments of up, exec, down and run. Whoever is left must end, and the
// next command must find its way and leave nothing.
func TestKilled(t *testing.T) {
	t.Parallel()
	needKernel(t)
	seed := rand.Uint64()
	for i := range uint64(2) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			t.Logf("seed %d", seed)
			k := &killer{place: newPlace(t), random: rand.New(rand.NewPCG(seed, i)), takes: map[string]time.Duration{}}
			k.example("minimal.yaml")
			moments := killMoments
			if testing.Short() {
				moments = 5
			}
			began, done := time.Now(), 0
			for ; done < moments && !t.Failed() && time.Since(began) < *killTime; done++ {
				k.moment(done)
			}
			t.Logf("%d moments in %v", done, time.Since(began).Round(time.Second))
		})
	}
}

type killer struct {
	*place
	random *rand.Rand
	takes  map[string]time.Duration // the longest that a verb was seen to take
	up     bool                     // the lab is
}

var killVerbs = map[string][]string{
	"up":   {"up", "minimal.yaml"},
	"exec": {"exec", "minimal/client", "--", "sh", "-c", "sleep 0.1"},
	"down": {"down", "minimal"},
	"run":  {"run", "--name", "minimal", "minimal.yaml", "--", "sh", "-c", "sleep 0.1"},
}

// moment is one kill and what comes after it.
func (k *killer) moment(i int) {
	k.t.Helper()
	verb := []string{"up", "exec", "down", "run"}[i%4]
	if wantUp := verb == "exec" || verb == "down"; wantUp && !k.up {
		k.timed("up")
	} else if !wantUp && k.up {
		k.timed("down")
	}
	if k.takes[verb] == 0 && (verb == "exec" || verb == "run") {
		k.timed(verb)
	}
	limit := max(k.takes[verb], 50*time.Millisecond)
	after := time.Duration(k.random.Int64N(int64(limit * 11 / 10)))
	victim := []string{"command", "supervisor"}[k.random.IntN(2)]
	what := fmt.Sprintf("moment %d: %s, its %s killed after %v", i, verb, victim, after.Round(time.Millisecond))
	defer func() {
		if k.t.Failed() {
			k.t.Log(what)
		}
	}()
	r := k.kill(victim, after, killVerbs[verb]...)
	// The next command: down, or one that is none the wiser.
	if k.random.IntN(3) == 0 {
		if next := k.run("status"); next.status != 0 {
			k.t.Errorf("%s: then status: %+v", what, next)
		}
	}
	if verb == "exec" && victim == "command" {
		k.timed("exec") // the lab takes no notice
		return
	}
	if next := k.run("down", "minimal"); next.status != 0 {
		k.t.Errorf("%s: %+v, then down: %+v", what, r, next)
	}
	k.up = false
	k.nothingLeft()
}

// timed runs a verb, which must succeed, and notes how long it takes.
func (k *killer) timed(verb string) {
	k.t.Helper()
	began := time.Now()
	k.ok(killVerbs[verb]...)
	k.takes[verb] = max(k.takes[verb], time.Since(began))
	k.up = verb == "up" || verb == "exec"
}

// kill starts the command, kills the victim after a while, and waits for the
// command's end, which must come by itself.
func (k *killer) kill(victim string, after time.Duration, args ...string) result {
	k.t.Helper()
	cmd := k.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	struck := make(chan struct{})
	timer := time.AfterFunc(after, func() {
		defer close(struck)
		k.strike(victim, cmd)
	})
	hung := time.AfterFunc(time.Minute, func() {
		k.t.Errorf("%v does not end", args)
		_ = cmd.Process.Kill()
	})
	defer hung.Stop()
	_ = cmd.Wait() // however it ends
	if !timer.Stop() {
		<-struck // the next command is not to be hit
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (k *killer) strike(victim string, cmd *exec.Cmd) {
	if victim == "command" {
		_ = cmd.Process.Kill() // it may have ended
		return
	}
	for _, line := range k.processes() {
		var pid int
		if _, err := fmt.Sscan(line, &pid); err == nil && strings.Contains(line, "ipvslab-guest-supervisor") {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}
