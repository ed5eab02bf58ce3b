package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// identify tells what kernel is in the file, from its contents.
func identify(path string) (Kernel, error) {
	f, err := os.Open(path)
	if err != nil {
		return Kernel{}, fmt.Errorf("read kernel: %w", err)
	}
	defer f.Close()
	head := make([]byte, 0x400)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return Kernel{}, fmt.Errorf("read kernel %s: %w", path, err)
	}
	head = head[:n]
	k := Kernel{Path: path}
	switch {
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		if k.Launcher, err = elfLauncher(f); err == nil {
			k.Release, err = scanRelease(f)
		}
	case isBzImage(head):
		k.Launcher = QEMU
		if err = builtFor("amd64"); err == nil {
			k.Release, err = bzRelease(f, head)
		}
	case isArmImage(head):
		k.Launcher = QEMU
		if err = builtFor("arm64"); err == nil {
			k.Release, err = scanRelease(f)
		}
	case isPackedArm(head):
		k.Launcher = QEMU
		if err = builtFor("arm64"); err == nil {
			k.Release, err = packedRelease(f)
		}
	default:
		err = errors.New("it is neither an ELF file nor a bzImage nor an arm64 Image")
	}
	if err != nil {
		return Kernel{}, fmt.Errorf("identify kernel %s: %w", path, err)
	}
	return k, nil
}

// builtFor is nil on a machine of the architecture that the kernel is for.
func builtFor(arch string) error {
	if runtime.GOARCH != arch {
		return fmt.Errorf("it is for %s, this machine is %s", arch, runtime.GOARCH)
	}
	return nil
}

// packedRelease is the release of the Image in a packed kernel.
func packedRelease(f *os.File) (string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return "", err
	}
	image, err := UnpackArm(data)
	if err != nil {
		return "", err
	}
	return scanRelease(bytes.NewReader(image))
}

// elfLauncher tells user-mode Linux, a program linked to low addresses, from a
// vmlinux, linked to the upper half of the address space.
func elfLauncher(r io.ReaderAt) (string, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return "", err
	}
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]; f.Machine != want {
		return "", fmt.Errorf("it is for %s, this machine is %s", f.Machine, runtime.GOARCH)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr>>63 == 1 {
			if runtime.GOARCH == "arm64" {
				return "", errors.New("QEMU starts no vmlinux of arm64; give the Image (arch/arm64/boot/Image) instead")
			}
			return QEMU, nil
		}
	}
	return UML, nil
}

// isBzImage looks for the signature of Documentation/arch/x86/boot.rst.
func isBzImage(head []byte) bool {
	return len(head) > 0x210 && string(head[0x202:0x206]) == "HdrS"
}

// bzRelease follows the header's kernel_version, an offset less 0x200 to a
// string that begins with the release.
func bzRelease(r io.ReaderAt, head []byte) (string, error) {
	offset := int64(head[0x20e]) | int64(head[0x20f])<<8
	text := make([]byte, 256)
	if n, err := r.ReadAt(text, offset+0x200); err != nil && n == 0 {
		return "", fmt.Errorf("read its version: %w", err)
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	fields := strings.Fields(string(text))
	if len(fields) == 0 {
		return "", errors.New("its header holds no version")
	}
	return fields[0], nil
}

// banner precedes the release in every uncompressed kernel: linux_banner in
// the kernel's init/version.c.
const banner = "Linux version "

func scanRelease(r io.ReadSeeker) (string, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	const keep = 128 // a banner may lie across two blocks
	buf := make([]byte, 1<<20)
	held := 0
	for {
		n, err := io.ReadFull(r, buf[held:])
		block := buf[:held+n]
		for rest := block; ; {
			i := bytes.Index(rest, []byte(banner))
			if i < 0 || (err == nil && len(rest)-i < keep) {
				break
			}
			rest = rest[i+len(banner):]
			// Printk formats hold "Linux version %s" too.
			if release, _, ok := strings.Cut(string(rest[:min(keep, len(rest))]), " "); ok && release[0] >= '0' && release[0] <= '9' {
				return release, nil
			}
		}
		if err != nil {
			return "", errors.New("it holds no version")
		}
		held = copy(buf, block[len(block)-min(keep, len(block)):])
	}
}

// findModules looks for the modules of the kernel: beside it, in the tree it
// was unpacked in, or installed. Empty means that there are none.
func findModules(k Kernel, root string) string {
	dir := filepath.Dir(k.Path)
	lib := "lib/modules"
	if k.Launcher == UML {
		lib = "lib/uml/modules"
	}
	for _, d := range []string{
		filepath.Join(dir, "modules", k.Release),
		filepath.Join(dir, "modules"),
		filepath.Join(dir, "lib/modules", k.Release),
		filepath.Join(dir, "..", lib, k.Release),
		filepath.Join(dir, "..", "usr", lib, k.Release),
		filepath.Join(root, "/usr", lib, k.Release),
		filepath.Join(root, "/lib/modules", k.Release),
	} {
		for _, inside := range []string{"kernel", "modules.builtin"} {
			if _, err := os.Stat(filepath.Join(d, inside)); err == nil {
				return d
			}
		}
	}
	return ""
}
