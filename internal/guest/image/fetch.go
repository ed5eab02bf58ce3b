package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoPackageManager says that this system has no apt: nothing can be
// fetched, but a kernel can be given by path.
var ErrNoPackageManager = errors.New("no apt-get, apt-cache and dpkg-deb on this system")

// FetchError says why a package could not be fetched, and what to do.
type FetchError struct {
	Package string
	Hint    string // what the user can do
	Err     error
}

func (e *FetchError) Error() string {
	return fmt.Sprintf("fetch package %s: %v\n%s", e.Package, e.Err, e.Hint)
}

func (e *FetchError) Unwrap() error { return e.Err }

// Fetch gets the package with the default cache; see [Fetcher.Fetch].
func Fetch(ctx context.Context, p Package, progress io.Writer) (string, error) {
	return Fetcher{Progress: progress}.Fetch(ctx, p)
}

// Fetcher gets packages into the user's cache.
type Fetcher struct {
	Cache    string    // empty: CacheDir
	Progress io.Writer // says what is fetched, how big it is and how far it got; nil: nothing
}

// Fetch gets the newest version of the package that this system's sources
// offer, as this user, and returns the directory in which it lies unpacked. A
// version that is there already is not fetched again. Callers in other
// processes wait for each other. What was downloaded before an interruption is
// used by the next try. Errors are of type *FetchError.
func (f Fetcher) Fetch(ctx context.Context, p Package) (string, error) {
	tree, err := f.fetch(ctx, p)
	if err != nil {
		return "", &FetchError{Package: p.Name, Err: err, Hint: hint(ctx, err)}
	}
	return tree, nil
}

func (f Fetcher) fetch(ctx context.Context, p Package) (string, error) {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", ErrNoPackageManager
		}
	}
	if f.Cache == "" {
		var err error
		if f.Cache, err = CacheDir(); err != nil {
			return "", err
		}
	}
	home := kernelsDir(f.Cache)
	if p.isEmulator() {
		home = emulatorsDir(f.Cache)
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", fmt.Errorf("make room in the cache: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(home, ".lock-"+p.Name), f.say)
	if err != nil {
		return "", err
	}
	defer unlock()

	tree, err := f.fetchFrom(ctx, apt{}, home, p)
	if !newerListsMayHelp(err) {
		return tree, err
	}
	own := apt{private: filepath.Join(f.Cache, "apt")}
	if own.fresh() {
		if tree, err = f.fetchFrom(ctx, own, home, p); !newerListsMayHelp(err) {
			return tree, err
		}
	}
	f.say("fetching package lists: this system's are missing or out of date")
	updateErr := own.update(ctx)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	// A failed update may yet have got the list that counts.
	if tree, err = f.fetchFrom(ctx, own, home, p); err != nil {
		err = errors.Join(err, updateErr)
	}
	return tree, err
}

// errNotListed says that apt's lists do not have a package.
var errNotListed = errors.New("the package sources of this system do not have it")

// newerListsMayHelp says whether newer lists could mend the error: the package
// is not in them, or they name a version that the mirror no longer has.
func newerListsMayHelp(err error) bool {
	var failed *commandError
	if errors.As(err, &failed) {
		return strings.Contains(failed.Output, "404 ") || strings.Contains(failed.Output, "Unable to locate")
	}
	return errors.Is(err, errNotListed)
}

// fetchFrom fetches with the lists of a.
func (f Fetcher) fetchFrom(ctx context.Context, a apt, home string, p Package) (string, error) {
	records, err := a.resolve(ctx, p)
	if err != nil {
		return "", err
	}
	if len(records) == 0 {
		return "", errNotListed
	}
	first := records[0]
	id := first.name + "_" + strings.NewReplacer(":", "_", "/", "_", "~", "_").Replace(first.version)
	tree := filepath.Join(home, id)
	if isDir(tree) {
		return tree, nil
	}
	staging := filepath.Join(home, ".fetch-"+id)
	debs := filepath.Join(staging, "debs")
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return "", fmt.Errorf("make room in the cache: %w", err)
	}
	if err := f.download(ctx, a, debs, records); err != nil {
		return "", err
	}
	unpacked := filepath.Join(staging, "tree")
	if err := unpack(ctx, debs, unpacked); err != nil {
		return "", err
	}
	if err := p.check(unpacked); err != nil {
		return "", err
	}
	if err := publish(unpacked, tree); err != nil {
		return "", err
	}
	f.say(fmt.Sprintf("fetched %s %s into %s", first.name, first.version, tree))
	return tree, os.RemoveAll(staging)
}

// download says what it gets, sees that there is room, and checks that the
// files are as long as announced; their checksums are apt's business.
func (f Fetcher) download(ctx context.Context, a apt, debs string, records []record) error {
	var names []string
	var total, need int64
	for _, r := range records {
		names = append(names, r.name)
		total += r.size
		need += r.size + r.installed
	}
	have := dirSize(debs)
	if err := checkSpace(debs, need-have); err != nil {
		return err
	}
	what := records[0].name + " " + records[0].version
	if n := len(records) - 1; n > 0 {
		what += fmt.Sprintf(" and %d packages that go with it", n)
	}
	f.say(fmt.Sprintf("fetching %s (%d MiB, %d MiB unpacked)", what, mib(total), mib(need-total)))
	stop := f.watch(func() int64 { return dirSize(debs) }, total)
	err := a.download(ctx, debs, names...)
	stop()
	if err != nil {
		return err
	}
	if got := dirSize(debs); got != total {
		if err := os.RemoveAll(debs); err != nil {
			return fmt.Errorf("remove damaged download: %w", err)
		}
		return fmt.Errorf("downloaded %d bytes instead of %d; they were thrown away", got, total)
	}
	return nil
}

// unpack unpacks every package in debs into the new directory tree.
func unpack(ctx context.Context, debs, tree string) error {
	if err := os.RemoveAll(tree); err != nil {
		return fmt.Errorf("remove what was half unpacked: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return fmt.Errorf("list packages: %w", err)
	}
	for _, deb := range files {
		if _, err := run(ctx, "", "dpkg-deb", "-x", deb, tree); err != nil {
			return err
		}
	}
	return nil
}

// check sees that the package holds what it is fetched for.
func (p Package) check(tree string) error {
	if p.isEmulator() {
		if _, ok := emulatorInTree(tree); !ok {
			return errors.New("the package holds no " + emulatorName())
		}
		return nil
	}
	kernels := inTree(tree, "cache", p.Launcher)
	switch {
	case len(kernels) == 0:
		return errors.New("there is no kernel in it")
	case len(Usable(kernels)) == 0:
		return fmt.Errorf("the kernel in it can't be used: %s", kernels[0].Unfit)
	}
	return nil
}

// publish makes the tree visible to Find, whole, also after a power cut.
func publish(unpacked, tree string) error {
	d, err := os.Open(unpacked)
	if err != nil {
		return fmt.Errorf("keep fetched package: %w", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("write fetched package to disk: %w", err)
	}
	if err := os.Rename(unpacked, tree); err != nil {
		return fmt.Errorf("keep fetched package: %w", err)
	}
	return nil
}

// checkSpace sees that the file system has that many bytes free, and some.
func checkSpace(dir string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("find free space in %s: %w", dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if need += 16 << 20; free < need {
		return fmt.Errorf("%s has %d MiB free, %d are needed: %w", dir, mib(free), mib(need), unix.ENOSPC)
	}
	return nil
}

// hint is what a user can do about the error.
func hint(ctx context.Context, err error) string {
	const own = "or give a kernel of your own: --kernel /path/to/linux.uml (or vmlinux, bzImage), modules in " + ModulesEnv
	var failed *commandError
	said := ""
	if errors.As(err, &failed) {
		said = failed.Output
	}
	switch {
	case ctx.Err() != nil:
		return "run it again: it goes on where it was interrupted"
	case errors.Is(err, ErrNoPackageManager):
		return "get these with your package manager: " + elsewhere() + "; " + own
	case errors.Is(err, unix.ENOSPC), strings.Contains(said, "No space left"):
		return "free some space, or set XDG_CACHE_HOME to a directory with more"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS), errors.Is(err, unix.ENOTDIR):
		return "set XDG_CACHE_HOME to a directory that you can write"
	case errors.Is(err, errNotListed):
		return "see that its section of the archive (main, universe) is among apt's sources; " + own
	default:
		return "see that the machine can reach its package mirror (network, proxy), then run it again; " + own
	}
}

// elsewhere names what to install on systems without apt.
func elsewhere() string {
	return "QEMU (Fedora: qemu-system-x86-core; Arch: qemu-system-x86; Alpine: qemu-system-x86_64) and a kernel with its " +
		"modules that this user can read (Fedora: kernel-core, kernel-modules)"
}

func mib(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// dirSize is the number of bytes in the files of dir.
func dirSize(dir string) int64 {
	entries, _ := os.ReadDir(dir)
	var total int64
	for _, e := range entries {
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() {
			total += st.Size()
		}
	}
	return total
}
