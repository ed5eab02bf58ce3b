package lab_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ipvslab/ipvslab/internal/netns"
	"github.com/ipvslab/ipvslab/internal/probe/probetest"
	"github.com/ipvslab/ipvslab/lab"
)

// Of several who bring up the same lab one does it; several may end it.
func TestSerialised(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	p := plan(t, "nat.yaml", labName("serial"))
	t.Cleanup(func() { lab.Down(t.Context(), p.Name) })
	const callers = 4
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { _, errs[i] = lab.Up(t.Context(), p, lab.Options{Agent: lab.Detached, NoServices: true}) })
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		switch {
		case err == nil:
			made++
		case !errors.Is(err, lab.ErrExists):
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d callers made the lab", made)
	}
	found := make([]bool, callers)
	for i := range callers {
		wg.Go(func() { found[i], errs[i] = lab.Down(t.Context(), p.Name) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if n := len(slices.DeleteFunc(found, func(f bool) bool { return !f })); n != 1 {
		t.Errorf("%d callers ended the lab", n)
	}
	nothingLeft(t, dir, p.Name)
}

// A namespace of the same name that no lab has recorded is not touched.
func TestForeignNamespace(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	p := plan(t, "nat.yaml", labName("foreign"))
	foreign := p.Name + ".rs1"
	t.Cleanup(func() {
		if err := netns.Delete(foreign); err != nil {
			t.Error(err)
		}
	})
	if err := netns.Create(foreign); err != nil {
		t.Fatal(err)
	}
	_, err := lab.Up(t.Context(), p, lab.Options{NoServices: true})
	if err == nil || !strings.Contains(err.Error(), "ip netns del "+foreign) {
		t.Errorf("got %v", err)
	}
	if _, err := lab.Down(t.Context(), p.Name); err != nil {
		t.Error(err)
	}
	ns, err := netns.Open(foreign)
	if err != nil {
		t.Fatal(err)
	}
	ns.Close()
	if entries, err := os.ReadDir(filepath.Join(dir, "labs")); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// Down works without a readable state, without the plan, and after a reboot;
// Up explains, or clears the way.
func TestDamagedState(t *testing.T) {
	probetest.Namespaces(t)
	dir := stateRoot(t)
	for name, test := range map[string]struct {
		file   string
		damage func([]byte) []byte
		up     string // its error; "" if it succeeds
	}{
		"state cut short": {"state.json", func(b []byte) []byte { return b[:len(b)/2] }, "ipvslab down"},
		"plan cut short":  {"plan.json", func(b []byte) []byte { return b[:len(b)/2] }, "ipvslab down"},
		"empty":           {"state.json", func([]byte) []byte { return nil }, "ipvslab down"},
		"half made": {"state.json", func(b []byte) []byte {
			return []byte(strings.Replace(string(b), `"phase":"up"`, `"phase":"making"`, 1))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan(t, "nat.yaml", labName("damaged"))
			up(t, p, lab.Options{Agent: lab.Detached, NoServices: true})
			path := filepath.Join(dir, "labs", p.Name, test.file)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, test.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := lab.Load(p.Name); err == nil {
				t.Error("Load succeeded")
			}
			_, err = lab.Up(t.Context(), p, lab.Options{Agent: lab.Detached, NoServices: true})
			if (err == nil) != (test.up == "") || err != nil && !strings.Contains(err.Error(), test.up) {
				t.Errorf("Up: %v", err)
			}
			if found, err := lab.Down(t.Context(), p.Name); !found || err != nil {
				t.Errorf("Down: %v, %v", found, err)
			}
			nothingLeft(t, dir, p.Name)
		})
	}
}

// Names that are paths name no lab.
func TestBadNames(t *testing.T) {
	stateRoot(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", "-x", "a.b", "a b"} {
		if _, err := lab.Load(name); !errors.Is(err, lab.ErrNotExist) {
			t.Errorf("Load(%q): %v", name, err)
		}
		if found, err := lab.Down(t.Context(), name); found || err != nil {
			t.Errorf("Down(%q): %v, %v", name, found, err)
		}
	}
}
