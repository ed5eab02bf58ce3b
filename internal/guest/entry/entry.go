// Package entry is imported for its effect: here a program becomes a guest's
// init, the kernel's module helper, a stage of the sandbox or a supervisor, if
// it was started as one: see guest.Hook.
//
// It does so while packages are initialised, and not in main, because in
// user-mode Linux the first touch of each page of a program costs some 80 µs, and
// a large program's initialisation touches a thousand. A package is
// initialised as soon as those that it imports are, the first by import path
// before others (The Go Programming Language Specification, Program
// initialization): so an init has to wait for what package guest needs, and not
// for the command line, the test framework and the lab.
//
// Nothing but main imports it.
package entry

import (
	"github.com/ipvslab/ipvslab/internal/guest"
	_ "github.com/ipvslab/ipvslab/internal/guest/prefault" // before anything else
)

func init() { guest.Hook() }
