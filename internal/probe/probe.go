// Package probe answers what the running kernel can do for a lab, for this
// process, now, and where an administrator's program is installed.
//
// It tries rather than guesses: a link type is there when a link of it could
// be made, a scheduler when a service with it was accepted. Everything that
// makes something happens in a network namespace of its own that goes away
// with the probe, so nothing is left behind; the one lasting effect is the
// kernel's own: it may load a module on demand, as it would for the lab.
// What could not be tried is unknown and says why; unknown is never yes.
//
// The package reads only. It must not import the lab, the guest or moby/ipvs
// (which reports success on a kernel without IPVS).
package probe

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Probe tries every feature that the package knows.
func Probe(ctx context.Context) Report { return Only(ctx, All()...) }

// Only tries just the named features, a few milliseconds for what one lab
// needs. A name the package does not know comes back unknown. When ctx ends
// first, the features not yet tried are unknown.
func Only(ctx context.Context, names ...string) Report {
	results := make(chan Feature, len(names))
	go runAll(ctx, names, results)

	r := newReport()
	pending := slices.Clone(names)
	for len(pending) > 0 {
		select {
		case f := <-results:
			r.Features = append(r.Features, f)
			if i := slices.Index(pending, f.Name); i >= 0 {
				pending = slices.Delete(pending, i, i+1)
			}
		case <-ctx.Done():
			for _, n := range pending {
				r.Features = append(r.Features, unknown(n, "not tried: "+ctx.Err().Error()))
			}
			pending = nil
		}
	}
	r.sortAs(names)
	return r
}

func newReport() Report {
	r := Report{UID: os.Getuid(), Arch: runtime.GOARCH}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		r.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return r
}

// check tries one feature; arg is what follows the colon in its name.
type check struct {
	inNamespace bool // wants the throw-away network namespace
	run         func(e *env, name, arg string) Feature
}

var checks = map[string]check{
	"privilege":  {run: checkPrivilege},
	"ipvs":       {run: checkIPVS},
	"sched":      {run: checkScheduler, inNamespace: true},
	"link":       {run: checkLink, inNamespace: true},
	"qdisc":      {run: checkQdisc, inNamespace: true},
	"tc":         {run: checkSkbEdit, inNamespace: true},
	"nftables":   {run: checkNFTables, inNamespace: true},
	"iptables":   {run: checkIPTables, inNamespace: true},
	"socket":     {run: checkSocket},
	"filesystem": {run: checkFilesystem},
	"ptrace":     {run: checkPtrace},
	"kvm":        {run: checkKVM},
	"userns":     {run: checkUserNamespace},
	"mounts":     {run: checkMounts},
	"tmp":        {run: checkTmp},
}

// runAll sends one Feature per name. What needs no namespace is tried first:
// it is cheap, and often settles the matter.
func runAll(ctx context.Context, names []string, results chan<- Feature) {
	e := newEnv()
	defer e.close()
	var inside []string
	for _, name := range names {
		kind, arg, _ := strings.Cut(name, ":")
		c, ok := checks[kind]
		switch {
		case ctx.Err() != nil:
			return
		case !ok:
			results <- unknown(name, "no such feature is known")
		case c.inNamespace:
			inside = append(inside, name)
		default:
			results <- c.run(e, name, arg)
		}
	}
	if len(inside) == 0 {
		return
	}
	err := inThrowawayNamespace(func() {
		defer e.close() // while still on the namespace's thread
		for _, name := range inside {
			if ctx.Err() != nil {
				return
			}
			kind, arg, _ := strings.Cut(name, ":")
			results <- checks[kind].run(e, name, arg)
		}
	})
	if err == nil {
		return
	}
	for _, name := range inside {
		f := unknown(name, fmt.Sprintf("can't try it: %v", err))
		f.Remedy = remedyPrivilege
		if kind, _, _ := strings.Cut(name, ":"); kind == "sched" {
			f = e.schedulerUntried(f)
		}
		results <- f
	}
}

// inThrowawayNamespace runs fn on a thread of its own in a new network
// namespace. The thread is never unlocked, so the Go runtime ends it with the
// goroutine, and the kernel takes the namespace and all in it down.
func inThrowawayNamespace(fn func()) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The process's first thread can't be ended, it would keep the
			// namespace. It is locked now, so the next goroutine gets another.
			done <- inThrowawayNamespace(fn)
			runtime.UnlockOSThread()
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("unshare network namespace: %w", err)
			return
		}
		fn()
		done <- nil
	}()
	return <-done
}
