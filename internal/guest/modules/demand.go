package modules

import (
	"encoding/json"
	"fmt"
	"os"
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

// LoadFor loads, in the guest, what the index in the file says for the name or
// alias. The index may have been made by a host that is not to be disturbed: it is only read.
func LoadFor(indexFile, name string) error {
	data, err := os.ReadFile(indexFile)
	if err != nil {
		return fmt.Errorf("read module index: %w", err)
	}
	var index Index
	if err := json.Unmarshal(data, &index); err != nil {
		return fmt.Errorf("read module index: %w", err)
	}
	files, ok := index[canonical(name)]
	if !ok {
		return fmt.Errorf("load module %s: not among this guest's modules", name)
	}
	return Load(files)
}
