package qemu

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cavaliergopher/cpio"
)

// initramfsUnused is after how long an initramfs is forgotten: each build of
// the binary, each test binary, has one of its own.
const initramfsUnused = 24 * time.Hour

// modulesDir is where the initramfs has its modules, named so that their
// alphabetical order is that of loading.
const modulesDir = "/modules"

// makeInitramfs makes the guest's first file system: the binary as /init, and
// modules. It is kept in the cache for as long as neither changes.
func makeInitramfs(cache, init string, modules []string) (string, error) {
	h := sha256.New()
	for _, f := range append([]string{init}, modules...) {
		st, err := os.Stat(f)
		if err != nil {
			return "", fmt.Errorf("make initramfs: %w", err)
		}
		fmt.Fprintln(h, fileKey(f, st))
	}
	dir := filepath.Join(cache, "initramfs")
	path := filepath.Join(dir, hex.EncodeToString(h.Sum(nil))[:20]+".cpio")
	now := time.Now()
	if err := os.Chtimes(path, now, now); err == nil {
		return path, nil
	}
	err := keep(path, func(w io.Writer) error { return writeInitramfs(w, init, modules) })
	if err != nil {
		return "", fmt.Errorf("make initramfs: %w", err)
	}
	if err := forget(dir, initramfsUnused); err != nil {
		return "", fmt.Errorf("remove old initramfs: %w", err)
	}
	return path, nil
}

func writeInitramfs(out io.Writer, init string, modules []string) error {
	w := cpio.NewWriter(out)
	for _, dir := range []string{"dev", "proc", "sys", "run", "root", modulesDir[1:]} {
		if err := w.WriteHeader(&cpio.Header{Name: dir, Mode: cpio.TypeDir | 0o755, Links: 2}); err != nil {
			return err
		}
	}
	if err := addFile(w, "init", init, 0o755); err != nil {
		return err
	}
	for i, m := range modules {
		name := fmt.Sprintf("%s/%03d-%s", modulesDir[1:], i, filepath.Base(m))
		if err := addFile(w, name, m, 0o644); err != nil {
			return err
		}
	}
	return w.Close()
}

func addFile(w *cpio.Writer, name, path string, mode cpio.FileMode) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeReg | mode, Size: st.Size(), Links: 1}); err != nil {
		return err
	}
	n, err := io.Copy(w, f)
	if err == nil && n != st.Size() {
		err = errors.New(path + " changed while it was read")
	}
	return err
}
