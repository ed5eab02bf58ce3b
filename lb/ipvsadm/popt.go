package ipvsadm

import "strings"

// argKind says whether an option takes an argument.
type argKind uint8

const (
	noArg   argKind = iota
	needArg         // the rest of the word, after "=", or the next word whatever it looks like
	mayArg          // likewise, but a next word that starts with "-" is left alone
)

// option is one entry of the option table.
type option struct {
	long  string
	short byte // zero: no short form
	arg   argKind
	id    optionID
}

// popt's complaints (poptStrerror).
const (
	errNoArgument = "missing argument"
	errUnwanted   = "option does not take an argument"
	errUnknown    = "unknown option"
)

// scanner reads options from a command line as popt 1.19 does: options and
// operands may be mixed, short options may be run together ("-Ln"), an
// argument may follow in the same word, after "=", or as the next word, long
// options cannot be abbreviated, and "--" makes operands of all that follows.
type scanner struct {
	argv     []string // without the program's name
	next     int      // index of the next word to read
	group    string   // unread rest of a word of short options
	operands []string // words that are no options, in order
	only     bool     // "--" has been seen

	arg    string // argument of the last option
	hasArg bool
}

// word is the one that the last option came from (popt's "bad option").
func (s *scanner) word() string {
	if s.next == 0 {
		return ""
	}
	return s.argv[s.next-1]
}

// scan finds the next option. It gives false at the end of the line, and a
// non-empty complaint when the option is not one.
func (s *scanner) scan() (id optionID, more bool, complaint string) {
	s.arg, s.hasArg = "", false
	if s.group == "" && !s.toOption() {
		return 0, false, ""
	}
	var opt *option
	value, valued := "", false
	if s.group == "" {
		w := s.argv[s.next]
		s.next++
		if long, ok := strings.CutPrefix(w, "--"); ok {
			var name string
			name, value, valued = strings.Cut(long, "=")
			if opt = findLong(name); opt == nil {
				return 0, true, errUnknown
			}
		} else {
			s.group = w[1:]
		}
	}
	if opt == nil {
		if opt = findShort(s.group[0]); opt == nil {
			return 0, true, errUnknown
		}
		s.group = s.group[1:]
	}
	return opt.id, true, s.takeArg(opt, value, valued)
}

// toOption moves past operands; false: there is no further option.
func (s *scanner) toOption() bool {
	for s.next < len(s.argv) {
		w := s.argv[s.next]
		switch {
		case s.only || !strings.HasPrefix(w, "-") || w == "-":
			s.operands = append(s.operands, w)
		case w == "--":
			s.only = true
		default:
			return true
		}
		s.next++
	}
	return false
}

// takeArg reads opt's argument; value is what followed "=" in a long option.
func (s *scanner) takeArg(opt *option, value string, valued bool) (complaint string) {
	if opt.arg == noArg {
		if valued || strings.HasPrefix(s.group, "=") {
			return errUnwanted
		}
		return ""
	}
	switch {
	case valued:
		s.arg, s.hasArg = value, true
	case s.group != "":
		s.arg, s.hasArg = strings.TrimPrefix(s.group, "="), true
		s.group = ""
	case s.next == len(s.argv):
		if opt.arg == needArg {
			return errNoArgument
		}
	case opt.arg == mayArg && strings.HasPrefix(s.argv[s.next], "-"):
	default:
		s.arg, s.hasArg = s.argv[s.next], true
		s.next++
	}
	return ""
}

func findLong(name string) *option {
	for i := range options {
		if options[i].long == name {
			return &options[i]
		}
	}
	return nil
}

func findShort(c byte) *option {
	for i := range options {
		if options[i].short == c && c != 0 {
			return &options[i]
		}
	}
	return nil
}
