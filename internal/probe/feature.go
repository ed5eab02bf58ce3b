package probe

import (
	"fmt"
	"slices"
	"strings"
)

// State is what is known about a feature.
type State int

// The states. The zero value is Unknown.
const (
	Unknown State = iota // it could not be tried
	Yes                  // tried, and it worked
	No                   // tried, and it is not there
)

// String is the state's name, in lower case.
func (s State) String() string {
	switch s {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "unknown"
	}
}

// MarshalText is String, for JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (s *State) UnmarshalText(text []byte) error {
	for _, known := range []State{Unknown, Yes, No} {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("parse feature state: %q is none of yes, no, unknown", text)
}

// Feature is one thing that a kernel can do or not.
type Feature struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Why    string `json:"why,omitempty"`    // the evidence
	Remedy string `json:"remedy,omitempty"` // what a person can do, when the state is not Yes
}

// String is one line for a person.
func (f Feature) String() string {
	s := f.Name + ": " + f.State.String()
	if f.Why != "" {
		s += " (" + f.Why + ")"
	}
	return s
}

func yes(name, why string) Feature        { return Feature{Name: name, State: Yes, Why: why} }
func unknown(name, why string) Feature    { return Feature{Name: name, State: Unknown, Why: why} }
func no(name, why, remedy string) Feature { return Feature{name, No, why, remedy} }

// Report is the outcome of a probe.
type Report struct {
	Kernel   string    `json:"kernel"` // release, as uname -r
	Arch     string    `json:"arch"`   // as GOARCH
	UID      int       `json:"uid"`
	Features []Feature `json:"features"`
}

// Get is the named feature; one that was not probed is Unknown.
func (r Report) Get(name string) Feature {
	for _, f := range r.Features {
		if f.Name == name {
			return f
		}
	}
	return unknown(name, "not probed")
}

// Has says that the feature was tried and worked.
func (r Report) Has(name string) bool { return r.Get(name).State == Yes }

// Missing are those of the needed features that are not known to work, in
// the order of need. None means that this kernel will do.
func (r Report) Missing(need ...string) []Feature {
	var out []Feature
	for _, n := range need {
		if f := r.Get(n); f.State != Yes {
			out = append(out, f)
		}
	}
	return out
}

// sortAs puts the features into the order in which they were asked for.
func (r *Report) sortAs(names []string) {
	slices.SortStableFunc(r.Features, func(a, b Feature) int {
		return slices.Index(names, a.Name) - slices.Index(names, b.Name)
	})
}

// MissingError says that this kernel lacks what a lab needs. Callers branch
// on it to take a guest kernel instead.
type MissingError struct {
	Kernel  string
	Missing []Feature
}

// Error names each missing feature, the evidence and, once each, the remedies.
func (e *MissingError) Error() string {
	var what, remedies []string
	last := ""
	for _, f := range e.Missing {
		s := f.Name
		if f.Why != "" {
			s += " (" + f.Why + ")"
		}
		what = append(what, s)
		remedy, guest := strings.CutSuffix(f.Remedy, remedyGuest)
		if guest { // said once, for all of them
			last = remedyGuest
		}
		if remedy != "" && !slices.Contains(remedies, remedy) {
			remedies = append(remedies, remedy)
		}
	}
	s := fmt.Sprintf("kernel %s lacks %s", e.Kernel, strings.Join(what, ", "))
	if len(remedies) > 0 {
		s += ": " + strings.Join(remedies, "; ") + last
	}
	return s
}

// Require is nil when every needed feature is there, else a *MissingError.
func (r Report) Require(need ...string) error {
	if m := r.Missing(need...); len(m) > 0 {
		return &MissingError{Kernel: r.Kernel, Missing: m}
	}
	return nil
}
