package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where and when the figures were measured.
type machine struct {
	date            time.Time
	cpu             string
	cores           int
	memory          uint64 // bytes
	kernel          string
	goVersion, load string
}

func describeMachine() machine {
	m := machine{
		date: time.Now().UTC(), cores: runtime.NumCPU(), cpu: field("/proc/cpuinfo", "model name"),
		goVersion: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, load: loadAverage(),
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		m.memory = info.Totalram * uint64(info.Unit)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		m.kernel = unix.ByteSliceToString(name.Release[:])
	}
	return m
}

func (m machine) describe(w io.Writer, loadAfter string) {
	fmt.Fprint(w, "\n| | |\n|---|---|\n")
	for _, row := range [][2]string{
		{"date", m.date.Format("2006-01-02 15:04 MST")},
		{"processor", fmt.Sprintf("%d × %s", m.cores, m.cpu)},
		{"memory", fmt.Sprintf("%.1f GiB", float64(m.memory)/(1<<30))},
		{"kernel", m.kernel},
		{"Go", m.goVersion},
		{"load before, after", m.load + ", " + loadAfter},
	} {
		fmt.Fprintf(w, "| %s | %s |\n", row[0], row[1])
	}
	if m.busy() {
		fmt.Fprint(w, "\n**The machine was busy with other work when this began: measure again on a quiet one.** The contenders\n"+
			"suffer unequally: whoever uses both processors, or waits often, more than one thread that computes.\n")
	}
}

// busy says that half of the processors had other work. Where there is no load to be read nobody knows.
func (m machine) busy() bool {
	load, err := strconv.ParseFloat(m.load, 64)
	return err == nil && load > float64(m.cores)/2
}

// field is the value of the first line of a "name : value" file with that
// name; empty where there is none, as on processors that have no model name.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// loadAverage is that of the last minute (proc_loadavg(5)).
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
