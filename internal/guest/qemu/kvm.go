package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Accel is how QEMU runs the guest's instructions.
type Accel string

// The ways: TCG translates them, KVM lets the processor run them.
const (
	TCG Accel = "tcg"
	KVM Accel = "kvm"
)

// kvmLimit bounds the probe boot. A boot with working KVM takes well under a
// second; where it is only half there (nested, filtered) it may hang for good.
const kvmLimit = 3 * time.Second

// kvmVerdict is the outcome of a probe boot, kept in the cache. It holds for
// one kernel image until the host is booted again.
type kvmVerdict struct {
	Kernel string `json:"kernel"` // fileKey
	Boot   string `json:"boot"`   // /proc/sys/kernel/random/boot_id
	Works  bool   `json:"works"`
	Why    string `json:"why,omitempty"`
}

// kvmDevice is where KVM is; a variable for tests, which must not touch it.
var kvmDevice = "/dev/kvm"

// ChooseAccel is KVM if a boot of the kernel with it worked in this boot of
// the host, else TCG. That /dev/kvm exists proves nothing: try makes the proof, at
// most once per kernel and host boot. IPVSLAB_KVM=off forbids even to look.
func ChooseAccel(ctx context.Context, cache, kernel string, try func(context.Context) error) Accel {
	if os.Getenv("IPVSLAB_KVM") == "off" {
		return TCG
	}
	if _, err := os.Stat(kvmDevice); err != nil {
		return TCG
	}
	want, err := verdictFor(kernel)
	if err != nil {
		return TCG // nothing to remember it by: not worth 3 s on every start
	}
	path := filepath.Join(cache, "kvm", want.Kernel+".json")
	if v, ok := readVerdict(path); ok && v.Boot == want.Boot {
		return v.accel()
	}
	limited, cancel := context.WithTimeout(ctx, kvmLimit)
	defer cancel()
	err = try(limited)
	if ctx.Err() != nil {
		return TCG // interrupted: no verdict
	}
	if want.Works = err == nil; err != nil {
		want.Why = err.Error()
	}
	if data, err := json.Marshal(want); err == nil {
		// Not kept means tried again: slower, not wrong.
		_ = keep(path, func(w io.Writer) error { _, err := w.Write(data); return err })
	}
	return want.accel()
}

func (v kvmVerdict) accel() Accel {
	if v.Works {
		return KVM
	}
	return TCG
}

func verdictFor(kernel string) (kvmVerdict, error) {
	st, err := os.Stat(kernel)
	if err != nil {
		return kvmVerdict{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return kvmVerdict{}, err
	}
	id := strings.TrimSpace(string(boot))
	if id == "" {
		return kvmVerdict{}, errors.New("empty boot id")
	}
	return kvmVerdict{Kernel: fileKey(kernel, st), Boot: id}, nil
}

func readVerdict(path string) (kvmVerdict, bool) {
	var v kvmVerdict
	data, err := os.ReadFile(path)
	return v, err == nil && json.Unmarshal(data, &v) == nil
}

// KVMStatus says for a person what is known about KVM for the kernel.
func KVMStatus(cache, kernel string) string {
	if os.Getenv("IPVSLAB_KVM") == "off" {
		return "switched off by IPVSLAB_KVM=off"
	}
	if _, err := os.Stat(kvmDevice); err != nil {
		return "no " + kvmDevice
	}
	want, err := verdictFor(kernel)
	if err != nil {
		return fmt.Sprintf("not tried: %v", err)
	}
	v, ok := readVerdict(filepath.Join(cache, "kvm", want.Kernel+".json"))
	switch {
	case !ok || v.Boot != want.Boot:
		return "not tried yet; the first start of QEMU will"
	case v.Works:
		return "works"
	default:
		return "does not work: " + v.Why
	}
}
