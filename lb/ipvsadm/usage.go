package ipvsadm

import (
	_ "embed"
	"fmt"
	"strings"
)

// Status is an exit status that the original uses.
const (
	statusOK     = 0
	statusFailed = 1   // a listing that could not be made
	statusUsage  = 2   // the command line is wrong
	statusKernel = 255 // the kernel refused, or popt did
)

// UsageError is a command line that the original refuses, with its message.
type UsageError struct {
	Status  int    // exit status: 2, or 255 when popt refused or only help was offered
	Message string // for standard error, without the newline at its end
	// Ends tells that the program ends here. Otherwise, and that is so for
	// popt's complaints about a later option, --restore goes on with its next line.
	Ends bool
}

func (e *UsageError) Error() string { return e.Message }

func usage(format string, args ...any) error {
	return &UsageError{Status: statusUsage, Message: fmt.Sprintf(format, args...), Ends: true}
}

// tryHelp is the complaint about a line that doesn't begin with a command.
func tryHelp(program string) error {
	return &UsageError{
		Status:  statusKernel,
		Message: fmt.Sprintf("Try `%s -h' or '%s --help' for more information.", program, program),
		Ends:    true,
	}
}

// versionLine is what -v prints; the second version is the one of the IPVS
// headers that Debian's build of 1.31 has seen.
const versionLine = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"

//go:embed usage.txt
var usageText string

// usageFor is what -h prints for a program of that name.
func usageFor(program string) string {
	return versionLine + strings.ReplaceAll(usageText, "%s", program)
}
