package launch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ipvslab/ipvslab/internal/guest"
	"github.com/ipvslab/ipvslab/lab"
)

// Lab is a lab and where it is.
type Lab struct {
	lab.Status
	Kernel string `json:"kernel"` // "host", or the guest's description
}

// Labs lists the labs in this kernel and in all guests. What could not be read
// is the error, beside what could.
func (l *Launcher) Labs(ctx context.Context) ([]Lab, error) {
	labs, err := here()
	if Inside() {
		return labs, err
	}
	guests, gerr := l.guests()
	err = errors.Join(err, gerr)
	for _, g := range guests {
		in, gerr := labsIn(ctx, g)
		var died *guest.DiedError
		switch {
		case errors.Is(gerr, guest.ErrNoGuest):
			continue // it has just ended, as it should
		case errors.As(gerr, &died):
			l.note(died.Error())
			continue
		}
		labs, err = append(labs, in...), errors.Join(err, gerr)
	}
	slices.SortFunc(labs, func(a, b Lab) int { return cmp.Compare(a.Name, b.Name) })
	return labs, err
}

func here() ([]Lab, error) {
	names, err := lab.List()
	labs := []Lab{}
	for _, name := range names {
		s, serr := lab.ReadStatus(name)
		if serr != nil {
			err = errors.Join(err, serr)
			continue
		}
		labs = append(labs, Lab{Status: *s, Kernel: "host"})
	}
	return labs, err
}

// labsIn asks the same binary in a guest.
func labsIn(ctx context.Context, g *guest.Guest) ([]Lab, error) {
	var out, errs bytes.Buffer
	q := &Launcher{Out: &out, Err: &errs}
	if err := q.attach(ctx, g, Request{Argv: []string{"status", "--json"}}); err != nil {
		return nil, fmt.Errorf("ask guest %s for its labs: %w: %s", g.ID, err, bytes.TrimSpace(errs.Bytes()))
	}
	var labs []Lab
	if err := json.Unmarshal(out.Bytes(), &labs); err != nil {
		return nil, fmt.Errorf("ask guest %s for its labs: %w", g.ID, err)
	}
	for i := range labs {
		labs[i].Kernel = g.Launcher + " guest " + g.ID
	}
	return labs, nil
}

// LabNames lists the labs without asking the guests.
func (l *Launcher) LabNames(context.Context) ([]string, error) {
	names, err := lab.List()
	if err != nil || Inside() {
		return names, err
	}
	guests, err := l.guests()
	for _, g := range guests {
		names = append(names, g.Labs...)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// guests lists the guests that run, and tells the user of those that died.
func (l *Launcher) guests() ([]*guest.Guest, error) {
	live, dead, err := guest.List()
	for _, d := range dead {
		l.note(d.Error())
	}
	return live, err
}

// EachLab calls down for every lab in this kernel and runs it in the guests for theirs.
func (l *Launcher) EachLab(ctx context.Context, down func(context.Context, string) error) error {
	names, err := lab.List()
	if !Inside() {
		guests, gerr := l.guests()
		err = errors.Join(err, gerr)
		for _, g := range guests {
			names = append(names, g.LabsNow()...)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		r := Request{Lab: name, Ends: true, Argv: []string{"down", name}}
		err = errors.Join(err, l.Run(ctx, r, func(ctx context.Context) error { return down(ctx, name) }))
	}
	return err
}
