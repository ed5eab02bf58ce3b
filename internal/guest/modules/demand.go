package modules

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

const demandFile = "demand.json"

// Index answers the kernel's own requests for modules, as modprobe(8) does from
// modules.alias: the files to load, in their order, by the name or alias asked for.
type Index map[string][]string

// index makes the index of the named modules.
func (d *Dir) index(home string, names []string) (index Index, missing []string, err error) {
	index = Index{}
	for _, n := range names {
		files, absent, err := d.Order(n)
		if err != nil {
			return nil, nil, err
		}
		missing = append(missing, absent...)
		if len(files) == 0 {
			continue // built in, or absent
		}
		if files, err = plainCopies(home, files); err != nil {
			return nil, nil, err
		}
		n = canonical(n)
		for _, name := range append([]string{n}, d.info[n].aliases...) {
			if _, taken := index[name]; !taken {
				index[name] = files
			}
		}
	}
	return index, missing, nil
}

// With adds to the files those for features that will be needed, as package
// probe names them; what the index doesn't know is passed over.
func (p Plan) With(features ...string) (Plan, error) {
	var names []string
	for _, f := range features {
		switch kind, what, _ := strings.Cut(f, ":"); kind {
		case "sched":
			names = append(names, "ip_vs_"+what) // as the kernel asks: ip_vs_sched.c, ip_vs_scheduler_get
		case "link":
			names = append(names, "rtnl-link-"+what) // net/core/rtnetlink.c
		}
	}
	if p.Demand == "" || len(names) == 0 {
		return p, nil
	}
	index, err := readIndex(p.Demand)
	if err != nil {
		return Plan{}, err
	}
	p.Files = slices.Clone(p.Files)
	for _, n := range names {
		for _, f := range index[canonical(n)] {
			if !slices.Contains(p.Files, f) {
				p.Files = append(p.Files, f)
			}
		}
	}
	return p, nil
}

func readIndex(file string) (Index, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read module index: %w", err)
	}
	var index Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("read module index: %w", err)
	}
	return index, nil
}

// LoadFor loads, in the guest, what the index in the file, or the list of the
// rest beside it, says for the name or alias. The index may have been made by a host that is not to be disturbed: it is only read.
func LoadFor(indexFile, name string) error {
	index, err := readIndex(indexFile)
	if err != nil {
		return err
	}
	files, ok := index[canonical(name)]
	if !ok {
		if files, err = lookRest(indexFile, canonical(name)); err != nil {
			return err
		}
	}
	if slices.Contains(schedulers, canonical(name)) {
		// Whoever tries one tries others: one process for all.
		for _, s := range schedulers {
			files = append(files, index[s]...)
		}
	}
	return Load(files)
}
