package modules

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Plan is what a guest loads. It is data: the host makes it, the guest obeys.
type Plan struct {
	Files   []string `json:"files"`             // absolute, in order of loading, none compressed
	Missing []string `json:"missing,omitempty"` // asked for, but not in this kernel
	Demand  string   `json:"demand,omitempty"`  // the file of an [Index] of all that was asked for; empty: there is none
}

// Make is the plan for the named modules of the kernel whose modules are in
// dir. It is kept below cache, with decompressed and stripped copies of modules,
// and made anew when dir or names change. An empty dir is a kernel without
// modules: nothing to load.
func Make(cache, dir string, names []string) (Plan, error) { return MakeDemand(cache, dir, names, nil) }

// MakeDemand is Make for the modules of first, which are loaded at once, and
// those of later, which the kernel asks for when it needs them; so it may ask
// for any other, which is loaded as it lies in dir.
func MakeDemand(cache, dir string, first, later []string) (Plan, error) {
	if dir == "" {
		return Plan{}, nil
	}
	key, err := planKey(dir, first, later)
	if err != nil {
		return Plan{}, err
	}
	home := filepath.Join(cache, key)
	if p, ok := readPlan(home); ok {
		return p, nil
	}
	d, err := Open(dir)
	if err != nil {
		return Plan{}, err
	}
	files, missing, err := d.Order(first...)
	if err != nil {
		return Plan{}, err
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return Plan{}, fmt.Errorf("keep module plan: %w", err)
	}
	p := Plan{Missing: missing}
	if p.Files, err = plainCopies(home, files); err != nil {
		return Plan{}, err
	}
	if len(later) > 0 {
		index, missing, err := d.index(home, later)
		if err != nil {
			return Plan{}, err
		}
		p.Missing = append(p.Missing, missing...)
		p.Demand = filepath.Join(home, demandFile)
		if err := writeJSON(p.Demand, index); err != nil {
			return Plan{}, err
		}
		if err := d.writeRest(filepath.Join(home, restFile)); err != nil {
			return Plan{}, err
		}
	}
	return p, writeJSON(filepath.Join(home, planFile), p)
}

func plainCopies(home string, files []string) ([]string, error) {
	var err error
	for i, f := range files {
		if files[i], err = plainCopy(home, f); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// planKey changes with the names asked for and with the directory: its place,
// and the size and time of the list that every installation writes anew.
func planKey(dir string, first, later []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "v4", dir, first, later)
	for _, f := range []string{".", "kernel", "modules.order", "modules.builtin"} {
		st, err := os.Stat(filepath.Join(dir, f))
		switch {
		case err == nil:
			fmt.Fprintln(h, f, st.Size(), st.ModTime().UnixNano())
		case f == ".":
			return "", fmt.Errorf("find modules: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:20], nil
}

const planFile = "plan.json"

// readPlan is false for a plan that is not there, not whole, or whose files
// are gone (a cache that was cleaned by hand).
func readPlan(home string) (Plan, bool) {
	var p Plan
	data, err := os.ReadFile(filepath.Join(home, planFile))
	if err != nil || json.Unmarshal(data, &p) != nil {
		return Plan{}, false
	}
	gone := slices.ContainsFunc(p.Files, func(f string) bool {
		_, err := os.Stat(f)
		return err != nil
	})
	return p, !gone
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return fmt.Errorf("keep module plan: %w", err)
	}
	return writeFile(path, append(data, '\n'))
}

// plainCopy is file itself, or its copy in home, decompressed and stripped.
func plainCopy(home, file string) (string, error) {
	data, err := readModule(file)
	if err != nil {
		return "", err
	}
	stripped := strip(data)
	if strings.HasSuffix(file, ".ko") && len(stripped) == len(data) {
		return file, nil
	}
	name, _ := moduleName(file)
	plain := filepath.Join(home, name+".ko")
	return plain, writeFile(plain, stripped)
}

// writeFile writes beside the file and renames, so that a reader in another
// process sees all of it or none.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already if it was renamed
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
