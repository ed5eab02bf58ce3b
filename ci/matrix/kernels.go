package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/ipvslab/ipvslab/internal/guest/image"
)

// kernel is a column of the report.
type kernel struct {
	Name    string       `json:"name"`
	Image   image.Kernel `json:"image"`
	Missing string       `json:"missing,omitempty"` // why there is none
}

// emulated: QEMU translates instructions where KVM is not to be had; either
// way its part of the suite is the smaller one.
func (k kernel) emulated() bool { return k.Image.Launcher == image.QEMU }

// atHand are the kernels to examine; one that can't be got is among them.
func atHand(ctx context.Context, o options) ([]kernel, error) {
	var out []kernel
	add := func(name string, k image.Kernel, err error) {
		one := kernel{Name: name, Image: k}
		if err != nil {
			one.Missing = err.Error()
		}
		out = append(out, one)
	}
	if image.UMLPossible() {
		k, err := packaged(ctx, o, image.Packages(image.UML)[0], "")
		add(label("Debian's user-mode Linux", k), k, err)
		k, err = builtHere(ctx, o)
		add(label("6.12 built as user-mode Linux", k), k, err)
	}
	k, err := packaged(ctx, o, image.Packages(image.QEMU)[0], "")
	add(label("Debian's image in QEMU", k), k, err)
	if name, err := newestPackage(ctx, "6.12"); err != nil || !strings.HasPrefix(k.Release, "6.12.") {
		// Beside the usual one, which every other command goes on taking.
		var newer image.Kernel
		if err == nil {
			newer, err = packaged(ctx, o, image.Package{Name: name, Launcher: image.QEMU}, "matrix")
		}
		add(label("Debian's 6.12 image in QEMU", newer), newer, err)
	}
	for _, path := range o.kernels {
		found, err := image.Find(ctx, image.Want{Path: path})
		if err != nil {
			add(path, image.Kernel{}, err)
			continue
		}
		add(label(filepath.Base(path), found[0]), found[0], nil)
	}
	return out, ctx.Err()
}

func label(what string, k image.Kernel) string {
	if k.Release == "" {
		return what
	}
	return what + ", " + k.Release
}

// packaged is the newest kernel of a package, fetched if need be, from the
// cache or from a part of it.
func packaged(ctx context.Context, o options, p image.Package, part string) (image.Kernel, error) {
	cache, err := image.CacheDir()
	if err != nil {
		return image.Kernel{}, err
	}
	cache = filepath.Join(cache, part)
	look := func() (image.Kernel, bool) {
		all, err := image.Find(ctx, image.Want{Launcher: p.Launcher, Cache: cache})
		all = slices.DeleteFunc(image.Usable(all), func(k image.Kernel) bool {
			return k.Origin == "built" || part != "" && k.Origin != "cache"
		})
		if err != nil || len(all) == 0 {
			return image.Kernel{}, false
		}
		return all[0], true
	}
	if k, ok := look(); ok {
		return k, nil
	}
	if !o.fetch {
		return image.Kernel{}, fmt.Errorf("package %s is not in the cache, and -fetch=false", p.Name)
	}
	if _, err := (image.Fetcher{Cache: cache, Progress: os.Stderr}).Fetch(ctx, p); err != nil {
		return image.Kernel{}, err
	}
	if k, ok := look(); ok {
		return k, nil
	}
	return image.Kernel{}, fmt.Errorf("package %s was fetched, but holds no kernel that can be used", p.Name)
}

// newestPackage is the newest general kernel of a series that apt knows.
func newestPackage(ctx context.Context, series string) (string, error) {
	text, err := exec.CommandContext(ctx, "apt-cache", "--names-only", "search", "^linux-image-"+regexp.QuoteMeta(series)+`\.`).Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for kernels: %w", err)
	}
	general := regexp.MustCompile(`^linux-image-([0-9.]+)[+~0-9a-z.]*-` + runtime.GOARCH + `(-unsigned)?$`)
	best, version := "", ""
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " ")
		if m := general.FindStringSubmatch(name); m != nil && semver.Compare("v"+m[1], "v"+version) > 0 {
			best, version = name, m[1]
		}
	}
	if best == "" {
		return "", fmt.Errorf("apt's lists have no kernel image of %s", series)
	}
	return best, nil
}

// builtHere is what ci/kernel/build.sh builds, or has built.
func builtHere(ctx context.Context, o options) (image.Kernel, error) {
	if o.build {
		cmd := exec.CommandContext(ctx, "ci/kernel/build.sh")
		cmd.Stderr = os.Stderr
		if path, err := cmd.Output(); err == nil {
			all, err := image.Find(ctx, image.Want{Path: string(bytes.TrimSpace(path))})
			if err != nil {
				return image.Kernel{}, err
			}
			all[0].Origin = "built"
			return all[0], nil
		}
		return image.Kernel{}, errors.New("ci/kernel/build.sh failed; it says why")
	}
	all, err := image.Find(ctx, image.Want{Launcher: image.UML})
	for _, k := range image.Usable(all) {
		if k.Origin == "built" {
			return k, nil
		}
	}
	if err == nil {
		err = errors.New("not built, and -build=false")
	}
	return image.Kernel{}, err
}
