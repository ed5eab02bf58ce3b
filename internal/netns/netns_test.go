package netns_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
)

func name(t *testing.T, suffix string) string {
	return fmt.Sprintf("netnstest%d.%s", os.Getpid(), suffix)
}

func create(t *testing.T, names ...string) {
	t.Helper()
	t.Cleanup(func() {
		for _, n := range names {
			if err := netns.Delete(n); err != nil && !errors.Is(err, netns.ErrNotExist) {
				t.Error(err)
			}
		}
	})
	if err := netns.CreateAll(names, nil); err != nil {
		t.Fatal(err)
	}
}

func currentID(t *testing.T) netns.ID {
	t.Helper()
	ns, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	return ns.ID()
}

// 200 callers at once, each looking twice at where it is, with nested calls
// and with bystanders that must never find themselves inside.
func TestDoConcurrent(t *testing.T) {
	probetest.Namespaces(t)
	home := currentID(t)
	var names []string
	for i := range 8 {
		names = append(names, name(t, fmt.Sprint("c", i)))
	}
	create(t, names...)
	spaces := make([]*netns.NS, len(names))
	for i, n := range names {
		ns, err := netns.Open(n)
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		spaces[i] = ns
	}
	look := func(want netns.ID) error {
		ns, err := netns.Current()
		if err != nil {
			return err
		}
		defer ns.Close()
		if ns.ID() != want {
			return fmt.Errorf("in namespace %v, want %v", ns.ID(), want)
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range 200 {
		outer, inner := spaces[i%len(spaces)], spaces[(i+1)%len(spaces)]
		wg.Go(func() {
			err := outer.Do(func() error {
				runtime.Gosched()
				err := errors.Join(look(outer.ID()), inner.Do(func() error { return look(inner.ID()) }))
				runtime.Gosched()
				return errors.Join(err, look(outer.ID()))
			})
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if err := look(home); err != nil {
				t.Error("bystander: ", err)
			}
		})
	}
	wg.Wait()
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		ns, err := netns.OpenPath(thread)
		if errors.Is(err, netns.ErrNotExist) {
			continue // has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		if ns.ID() != home {
			t.Errorf("%s was left in %v", thread, ns.ID())
		}
		ns.Close()
	}
}

func TestDoReportsErrorAndGoexit(t *testing.T) {
	probetest.Namespaces(t)
	n := name(t, "err")
	create(t, n)
	boom := errors.New("boom")
	if err := netns.Do(n, func() error { return boom }); !errors.Is(err, boom) {
		t.Errorf("got %v, want boom", err)
	}
	if err := netns.Do(n, func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("Goexit went unnoticed")
	}
}

func TestCreateDelete(t *testing.T) {
	probetest.Namespaces(t)
	n := name(t, "one")
	create(t, n)
	if err := netns.Create(n); !errors.Is(err, netns.ErrExists) {
		t.Errorf("second Create: got %v, want ErrExists", err)
	}
	if names, err := netns.List(); err != nil || !strings.Contains(strings.Join(names, " "), n) {
		t.Errorf("List: %v, %v", names, err)
	}
	out, err := exec.Command("ip", "netns", "exec", n, "ip", "-o", "link").CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") == 0 || strings.Contains(string(out), "eth0") {
		t.Errorf("iproute2 sees: %s, %v", out, err)
	}
	if err := netns.Delete(n); err != nil {
		t.Fatal(err)
	}
	if err := netns.Delete(n); !errors.Is(err, netns.ErrNotExist) {
		t.Errorf("second Delete: got %v, want ErrNotExist", err)
	}
	if _, err := netns.Open(n); !errors.Is(err, netns.ErrNotExist) {
		t.Errorf("Open: got %v, want ErrNotExist", err)
	}
	for _, bad := range []string{"", "..", "a/b", strings.Repeat("x", 300)} {
		if err := netns.Create(bad); err == nil {
			t.Errorf("Create(%q) succeeded", bad)
		}
	}
}

// Each function runs in its own namespace, and the first failure ends it.
func TestCreateAllInside(t *testing.T) {
	probetest.Namespaces(t)
	names := []string{name(t, "in0"), name(t, "in1"), name(t, "in2")}
	t.Cleanup(func() {
		for _, n := range names {
			netns.Delete(n)
		}
	})
	ids := make([]netns.ID, len(names))
	if err := netns.CreateAll(names, func(i int) error { ids[i] = currentID(t); return nil }); err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		ns, err := netns.Open(n)
		if err != nil {
			t.Fatal(err)
		}
		if ns.ID() != ids[i] {
			t.Errorf("%s is %v, but its function ran in %v", n, ns.ID(), ids[i])
		}
		ns.Close()
	}
	boom := errors.New("boom")
	more := []string{name(t, "more0")}
	names = append(names, more...)
	if err := netns.CreateAll(more, func(int) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("got %v, want boom", err)
	}
}

// A namespace closed twice must not close what has got its descriptor meanwhile.
func TestCloseTwice(t *testing.T) {
	ns, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ns.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
	if err := ns.Do(func() error { return nil }); err == nil {
		t.Error("a closed namespace was entered")
	}
}

// A plain file is what a process killed between open and mount leaves.
func TestHalfMade(t *testing.T) {
	probetest.Namespaces(t)
	n := name(t, "half")
	create(t, name(t, "other")) // makes the directory
	if err := os.WriteFile(netns.Path(n), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := netns.Open(n); !errors.Is(err, netns.ErrNotExist) {
		t.Errorf("Open: got %v, want ErrNotExist", err)
	}
	if err := netns.Delete(n); err != nil {
		t.Error(err)
	}
}

func TestStart(t *testing.T) {
	probetest.Namespaces(t)
	n := name(t, "start")
	create(t, n)
	ns, err := netns.Open(n)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var out strings.Builder
	cmd := exec.CommandContext(context.Background(), "readlink", "/proc/self/ns/net")
	cmd.Stdout = &out
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("net:[%d]\n", ns.ID().Ino); out.String() != want {
		t.Errorf("child is in %q, want %q", out.String(), want)
	}
}

func BenchmarkDo(b *testing.B) {
	probetest.Namespaces(b)
	ns, err := netns.Current()
	if err != nil {
		b.Fatal(err)
	}
	defer ns.Close()
	for b.Loop() {
		if err := ns.Do(func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
