package probe

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// adminDirs are where administrators' programs are, whatever the PATH.
var adminDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// Program finds an installed program by its name, in the PATH or where
// administrators' programs are, or by its path. An error says where it is not.
func Program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if filepath.Base(name) == name {
		for _, dir := range adminDirs {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s is not installed: it is neither in the PATH (%s) nor in %s",
		name, os.Getenv("PATH"), strings.Join(adminDirs, ", "))
}
