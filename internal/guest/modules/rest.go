package modules

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// restFile lies beside an [Index] and tells of all other modules that the
// kernel may ask for, for other people's programs: there are too many to
// read as JSON, or to copy. Its first line is the modules' directory; each
// other one has a name or alias, a tab, and the files to load, relative to the
// directory, with spaces between.
const restFile = "rest"

// drivers are the directories, below kernel/drivers, of devices that are made
// by request. The others are for hardware, which a guest does not have.
var drivers = []string{
	"block/", "connector/", "md/", "target/", "vhost/", "net/bonding/", "net/can/", "net/ipvlan/", "net/netdevsim/", "net/ppp/", "net/slip/",
	"net/team/", "net/vxlan/", "net/wireguard/",
}

// requestable says whether the kernel asks for modules of that place, relative
// to the modules' directory, by name.
func requestable(rel string) bool {
	if strings.HasPrefix(rel, "kernel/sound/") {
		return false
	}
	driver, ok := strings.CutPrefix(rel, "kernel/drivers/")
	return !ok || filepath.Dir(driver) == "net" ||
		slices.ContainsFunc(drivers, func(d string) bool { return strings.HasPrefix(driver, d) })
}

// writeRest writes the file for the kernel. A module that can't be read is left
// out: it can't be loaded either.
func (d *Dir) writeRest(path string) error {
	var out bytes.Buffer
	fmt.Fprintln(&out, d.path)
	taken := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		rel, err := filepath.Rel(d.path, d.files[name])
		if err != nil || !requestable(rel) {
			continue
		}
		files, _, err := d.Order(name)
		if err != nil || len(files) == 0 {
			continue
		}
		for i, f := range files {
			if files[i], err = filepath.Rel(d.path, f); err != nil {
				return fmt.Errorf("index modules: %w", err)
			}
		}
		for _, n := range append([]string{name}, d.info[name].aliases...) {
			if !taken[n] {
				taken[n] = true
				fmt.Fprintf(&out, "%s\t%s\n", n, strings.Join(files, " "))
			}
		}
	}
	return writeFile(path, out.Bytes())
}

// lookRest finds the files for the name in the file beside the index.
func lookRest(indexFile, name string) ([]string, error) {
	index, err := filepath.EvalSymlinks(indexFile)
	if err != nil {
		return nil, fmt.Errorf("read module index: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(filepath.Dir(index), restFile))
	if err != nil {
		return nil, fmt.Errorf("read module index: %w", err)
	}
	dir, lines, _ := bytes.Cut(data, []byte("\n"))
	_, line, ok := bytes.Cut(append([]byte("\n"), lines...), []byte("\n"+name+"\t"))
	if !ok {
		return nil, fmt.Errorf("load module %s: not among this guest's modules", name)
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	files := strings.Fields(string(line))
	for i, f := range files {
		files[i] = filepath.Join(string(dir), f)
	}
	return files, nil
}
