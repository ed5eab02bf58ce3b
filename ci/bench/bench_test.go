package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRaceTakesTurns(t *testing.T) {
	var calls strings.Builder
	one := func(name string, fail bool) contender {
		return contender{name, func(context.Context) (time.Duration, error) {
			calls.WriteString(name)
			if fail {
				return 0, errors.New("broken")
			}
			return time.Second, nil
		}}
	}
	got := race(t.Context(), 2, []contender{one("a", false), one("x", true), one("b", false)})
	want := []timing{
		{Name: "a", Times: []time.Duration{time.Second, time.Second}},
		{Name: "x", Error: "broken"},
		{Name: "b", Times: []time.Duration{time.Second, time.Second}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, want := calls.String(), "axb"+"ba"+"ab"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	ms := func(n ...time.Duration) []time.Duration {
		for i := range n {
			n[i] *= time.Millisecond
		}
		return n
	}
	r := report{machine: machine{date: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), cpu: "cpu", cores: 2, memory: 4 << 30, kernel: "6.1", goVersion: "go", load: "0.1"}, loadAfter: "0.2"}
	r.add(t.Context(), figure{
		title: "A race", about: "What it is about.",
		wanted: []comparison{{"ours", "slow", 0.5}, {"ours", "fast", 0.5}, {"ours", "slow", 0}, {"ours", "absent", 2}},
		measure: func(context.Context) (findings, error) {
			return findings{
				timings: []timing{
					{Name: "ours", Times: ms(1, 4, 3)},
					{Name: "slow", Times: ms(10, 8, 12)},
					{Name: "fast", Times: ms(1, 2, 3)},
					{Name: "absent", Error: "not\ninstalled."},
				},
				values: []value{{"weight", "1 g", "≤ 2 g: met"}},
			}, nil
		},
	})
	r.add(t.Context(), figure{title: "Another", about: "It.", measure: func(context.Context) (findings, error) { return findings{}, errNotRoot }})
	var got bytes.Buffer
	if _, err := r.WriteTo(&got); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/report.golden"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Error(d)
	}
}

func TestBusy(t *testing.T) {
	for load, want := range map[string]bool{"0.9": false, "1.1": true, "unknown": false} {
		if got := (machine{cores: 2, load: load}).busy(); got != want {
			t.Errorf("load %s on 2 processors: busy %v", load, got)
		}
	}
}

func TestPowerOffInitIsAProgram(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(powerOffInit()))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_X86_64 || len(f.Progs) != 1 {
		t.Fatalf("%v, %d program headers", f.FileHeader, len(f.Progs))
	}
	if p := f.Progs[0]; f.Entry < p.Vaddr || f.Entry >= p.Vaddr+p.Filesz || p.Flags&elf.PF_X == 0 {
		t.Errorf("entry %#x is not in the executable segment %+v", f.Entry, p.ProgHeader)
	}
}
