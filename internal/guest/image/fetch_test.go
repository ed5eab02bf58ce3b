package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeApt stands in for apt and dpkg on PATH. Its answers are files in a
// directory: show/NAME is a control stanza, deb/NAME the "package", a shell
// script that unpacks itself into $1. What it was asked goes to the file log.
const fakeApt = `#!/bin/sh
dir=$(dirname "$0")/../fake
echo "$(basename "$0") $*" >>"$dir/log"
for last; do :; done
case "$(basename "$0") $*" in
apt-cache*show*) [ -f "$dir/show/$last" ] || { echo "E: No packages found" >&2; exit 100; }; cat "$dir/show/$last" ;;
*--print-uris*) cat "$dir/closure" ;;
apt-get*update) sh "$dir/update" ;;
apt-get*download*)
	[ -f "$dir/refuse" ] && { cat "$dir/refuse" >&2; exit 100; }
	take=; for p; do [ "$take" ] && cp "$dir/deb/$p" "./$p.deb"; [ "$p" = download ] && take=1; done; exit 0 ;;
dpkg-deb*) shift; mkdir -p "$2" && sh "$1" "$2" ;;
*) echo "fake: what is $*" >&2; exit 99 ;;
esac
`

type fake struct {
	t   *testing.T
	dir string
	f   Fetcher
	out *strings.Builder
}

func newFake(t *testing.T) *fake {
	t.Helper()
	if !UMLPossible() {
		t.Skip("the packages of these tests are x86-64's")
	}
	root := t.TempDir()
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		put(t, filepath.Join(root, "bin", tool), fakeApt, 0o755)
	}
	t.Setenv("PATH", filepath.Join(root, "bin")+":/usr/bin:/bin")
	out := &strings.Builder{}
	f := &fake{t: t, dir: filepath.Join(root, "fake"), out: out}
	f.f = Fetcher{Cache: filepath.Join(root, "cache"), Progress: out}
	put(t, filepath.Join(f.dir, "update"), "exit 0", 0o644)
	return f
}

// offer makes a package available; script unpacks it, $1 is where to.
func (f *fake) offer(name, version, script string, depends ...string) {
	f.t.Helper()
	put(f.t, filepath.Join(f.dir, "deb", name), script, 0o644)
	put(f.t, filepath.Join(f.dir, "show", name), fmt.Sprintf(
		"Package: %s\nVersion: %s\nSize: %d\nInstalled-Size: 1\nDepends: %s\n\nPackage: older\nVersion: 0\n",
		name, version, len(script), strings.Join(depends, ", ")), 0o644)
}

func (f *fake) log() string {
	f.t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, "log"))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(data)
}

const umlScript = `mkdir -p "$1/usr/bin" "$1/usr/lib/uml/modules/6.1.9/kernel" && echo kernel >"$1/usr/bin/linux.uml"`

func TestFetchUnpacksAndFinds(t *testing.T) {
	f := newFake(t)
	f.offer("user-mode-linux", "6.1um4+b1", umlScript)
	tree, err := f.f.Fetch(t.Context(), Packages(UML)[0])
	if err != nil {
		t.Fatal(err)
	}
	ks, err := Find(t.Context(), Want{Cache: f.f.Cache, Root: t.TempDir()})
	if err != nil || len(ks) != 1 {
		t.Fatalf("Find: %v, %v; want the one fetched", ks, err)
	}
	want := Kernel{
		Launcher: UML, Path: filepath.Join(tree, "usr/bin/linux.uml"),
		Modules: filepath.Join(tree, "usr/lib/uml/modules/6.1.9"), Release: "6.1.9", Origin: "cache",
	}
	if ks[0] != want {
		t.Errorf("found %+v, want %+v", ks[0], want)
	}
	if out := f.out.String(); !strings.Contains(out, "fetching user-mode-linux 6.1um4+b1 (1 MiB") {
		t.Errorf("it did not say what it fetches and how big that is:\n%s", out)
	}
	if left, _ := filepath.Glob(filepath.Join(kernelsDir(f.f.Cache), ".fetch-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFetchResolvesKernels(t *testing.T) {
	debian := `mkdir -p "$1/boot" "$1/lib/modules/6.1.0-9-amd64/kernel/net/9p" && : >"$1/boot/vmlinuz-6.1.0-9-amd64" && : >"$1/lib/modules/6.1.0-9-amd64/kernel/net/9p/9pnet_virtio.ko"`
	tests := map[string]struct {
		offer func(f *fake)
		want  string // the release found
		log   string
	}{
		"Debian's newest": {func(f *fake) {
			f.offer("linux-image-amd64", "6.1.1", ":", "linux-image-6.1.0-9-amd64")
			f.offer("linux-image-6.1.0-9-amd64", "6.1.1", debian, "kmod")
		}, "6.1.0-9-amd64", "download linux-image-6.1.0-9-amd64"},
		"Ubuntu's, with its modules": {func(f *fake) {
			f.offer("linux-image-generic", "6.8", ":", "linux-image-6.8.0-31-generic", "linux-firmware")
			f.offer("linux-image-6.8.0-31-generic", "6.8.0", `mkdir -p "$1/boot" && : >"$1/boot/vmlinuz-6.8.0-31-generic"`, "linux-modules-6.8.0-31-generic")
			f.offer("linux-modules-6.8.0-31-generic", "6.8.0", `mkdir -p "$1/lib/modules/6.8.0-31-generic/kernel/net/9p"`)
			f.offer("linux-modules-extra-6.8.0-31-generic", "6.8.0", `: >"$1/lib/modules/6.8.0-31-generic/kernel/net/9p/9pnet_virtio.ko.zst"`)
		}, "6.8.0-31-generic", "download linux-image-6.8.0-31-generic linux-modules-6.8.0-31-generic linux-modules-extra-6.8.0-31-generic"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			tt.offer(f)
			if _, err := f.f.Fetch(t.Context(), Package{Name: "linux-image-amd64", Launcher: QEMU}); err != nil {
				// linux-image-GOARCH is the general name; on another architecture Ubuntu's fallback is not taken.
				t.Fatal(err)
			}
			ks, err := Find(t.Context(), Want{Cache: f.f.Cache, Root: t.TempDir(), Launcher: QEMU})
			if err != nil || len(ks) != 1 || ks[0].Release != tt.want || ks[0].Unfit != "" {
				t.Errorf("Find: %+v, %v; want %s", ks, err, tt.want)
			}
			if !strings.Contains(f.log(), tt.log) {
				t.Errorf("asked apt\n%swant %q among it", f.log(), tt.log)
			}
		})
	}
}

// Each failure names itself and what to do, and what is half there is never
// found; when the cause is gone, the next fetch succeeds.
func TestFetchFailures(t *testing.T) {
	tests := map[string]struct {
		spoil func(f *fake)
		want  []string
		mend  func(f *fake)
	}{
		"mirror unreachable": {
			func(f *fake) {
				put(f.t, filepath.Join(f.dir, "refuse"), "E: Failed to fetch http://x/y.deb  Could not connect to x:80", 0o644)
			},
			[]string{"user-mode-linux", "Could not connect", "package mirror", "--kernel"},
			func(f *fake) { remove(f.t, filepath.Join(f.dir, "refuse")) },
		},
		"disk full while downloading": {
			func(f *fake) {
				put(f.t, filepath.Join(f.dir, "refuse"), "E: Write error - write (28: No space left on device)", 0o644)
			},
			[]string{"No space left", "XDG_CACHE_HOME"},
			func(f *fake) { remove(f.t, filepath.Join(f.dir, "refuse")) },
		},
		"cache is not to be written": {
			func(f *fake) {
				put(f.t, f.f.Cache+"-file", "", 0o644)
				f.f.Cache += "-file/below"
			},
			[]string{"make room in the cache", "XDG_CACHE_HOME"},
			func(f *fake) { f.f.Cache = strings.TrimSuffix(f.f.Cache, "-file/below") },
		},
		"truncated though apt is content": {
			func(f *fake) { put(f.t, filepath.Join(f.dir, "deb/user-mode-linux"), umlScript[:20], 0o644) },
			[]string{"20 bytes instead of"},
			func(f *fake) { f.offer("user-mode-linux", "1", umlScript) },
		},
		"unpacking fails": {
			func(f *fake) { f.offer("user-mode-linux", "1", umlScript+"; exit 7") },
			[]string{"dpkg-deb", "exit status 7"},
			func(f *fake) { f.offer("user-mode-linux", "2", umlScript) },
		},
		"not what it should be": {
			func(f *fake) { f.offer("user-mode-linux", "1", `mkdir -p "$1/usr"`) },
			[]string{"no kernel in it"},
			func(f *fake) { f.offer("user-mode-linux", "2", umlScript) },
		},
		"not in the sources": {
			func(f *fake) { remove(f.t, filepath.Join(f.dir, "show/user-mode-linux")) },
			[]string{"sources of this system do not have it", "universe"},
			func(f *fake) { f.offer("user-mode-linux", "1", umlScript) },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.offer("user-mode-linux", "1", umlScript)
			tt.spoil(f)
			_, err := f.f.Fetch(t.Context(), Packages(UML)[0])
			var fetch *FetchError
			if !errors.As(err, &fetch) {
				t.Fatalf("error %v, want a *FetchError", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error lacks %q:\n%v", w, err)
				}
			}
			if ks, err := Find(t.Context(), Want{Cache: f.f.Cache, Root: t.TempDir()}); err != nil || len(ks) > 0 {
				t.Errorf("found %v, %v after a failed fetch", ks, err)
			}
			tt.mend(f)
			if _, err := f.f.Fetch(t.Context(), Packages(UML)[0]); err != nil {
				t.Errorf("after the cause was mended: %v", err)
			}
		})
	}
}

func TestFetchTakesListsOfItsOwn(t *testing.T) {
	f := newFake(t)
	f.offer("user-mode-linux", "1", umlScript)
	show := filepath.Join(f.dir, "show")
	// The system's lists are empty until the update.
	put(t, filepath.Join(f.dir, "update"), fmt.Sprintf("mv %s.hidden %s", show, show), 0o644)
	if err := os.Rename(show, show+".hidden"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.f.Fetch(t.Context(), Packages(UML)[0]); err != nil {
		t.Fatal(err)
	}
	if own := "Dir::State::lists=" + f.f.Cache; !strings.Contains(f.log(), own) {
		t.Errorf("asked apt\n%swant %q among it", f.log(), own)
	}
}

func TestFetchWithoutApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Fetcher{Cache: t.TempDir()}.Fetch(t.Context(), Packages(UML)[0])
	if !errors.Is(err, ErrNoPackageManager) || !strings.Contains(err.Error(), "kernel-core") {
		t.Errorf("error %v, want ErrNoPackageManager with what to get", err)
	}
}

func TestFetchTwiceAtOnceDownloadsOnce(t *testing.T) {
	f := newFake(t)
	f.f.Progress = nil
	f.offer("user-mode-linux", "1", umlScript)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := f.f.Fetch(t.Context(), Packages(UML)[0]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(f.log(), " download "); n != 1 {
		t.Errorf("downloaded %d times, want once:\n%s", n, f.log())
	}
}

func TestFetchInterrupted(t *testing.T) {
	f := newFake(t)
	f.offer("user-mode-linux", "1", umlScript)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.f.Fetch(ctx, Packages(UML)[0])
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "run it again") {
		t.Errorf("error %v, want context.Canceled and what to do", err)
	}
}

func TestCheckSpace(t *testing.T) {
	if err := checkSpace(t.TempDir(), 1<<60); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("an exbibyte: %v, want ENOSPC", err)
	}
	if err := checkSpace(t.TempDir(), 1); err != nil {
		t.Errorf("a byte: %v", err)
	}
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
