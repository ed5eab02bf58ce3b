package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/ipvslab/ipvslab/internal/guest/image"
	"github.com/ipvslab/ipvslab/internal/guest/machine"
)

// lineFD is the descriptor of the guest's line in QEMU: the sandbox's first file.
const lineFD = 3

// rootTag is the 9p share of the host's tree; those of writable directories
// are writableTag(0) and so on.
const rootTag = "root"

func writableTag(i int) string { return fmt.Sprintf("writable%d", i) }

// defaultMachine is microvm, which boots faster than a whole PC, where the
// emulator has it (QEMU 4.2 and later, x86 only). The sources of doubt are
// builds with few devices, as some distributions make.
func defaultMachine(q image.QEMUBinary) string {
	if runtime.GOARCH == "arm64" {
		return "virt"
	}
	cmd := exec.Command(q.Path, "-machine", "help")
	if libs := q.LibraryPath(); libs != "" {
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+libs)
	}
	out, err := cmd.Output()
	if err == nil && !strings.Contains(string(out), "\nmicrovm ") {
		return "q35"
	}
	return "microvm" // should it not even list its machines, the real start says why
}

// commandLine is QEMU's. Nothing that is not asked for: no network device, no
// display, no monitor, no firmware screen.
func (l Launcher) commandLine(b parts, spec machine.Spec) []string {
	memory := spec.Memory
	if memory == 0 {
		memory = machine.DefaultMemory
	}
	cpus := spec.CPUs
	if cpus == 0 {
		cpus = min(2, runtime.NumCPU())
	}
	args := []string{
		l.Emulator.Path,
		"-M", l.machineOption(),
		"-smp", fmt.Sprint(cpus), "-m", fmt.Sprintf("%dM", memory>>20),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-monitor", "none",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-kernel", b.kernel, "-initrd", b.initramfs, "-append", l.kernelLine(spec),
	}
	args = append(args, l.accelOptions()...)
	for _, dir := range l.Emulator.Data {
		args = append(args, "-L", dir)
	}
	args = append(args,
		"-device", l.device("virtio-serial"),
		"-chardev", fmt.Sprintf("socket,id=line,fd=%d", lineFD),
		"-device", "virtserialport,chardev=line,name="+portName,
	)
	args = append(args, l.share("/", rootTag, true)...)
	for i, dir := range spec.Writable {
		args = append(args, l.share(dir, writableTag(i), false)...)
	}
	return args
}

func (l Launcher) machineOption() string {
	switch l.Machine {
	case "microvm":
		return "microvm,rtc=on" // the guest's clock starts from it
	case "virt":
		return "virt,gic-version=max"
	default:
		return l.Machine
	}
}

func (l Launcher) accelOptions() []string {
	if l.Accel == KVM {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	cpu := "max"
	if l.Machine == "virt" {
		// The architecture's own algorithm of pointer authentication takes four
		// fifths of a boot to emulate. QEMU 6.0 and later have another.
		cpu += ",pauth-impdef=on"
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", cpu}
}

// device names the variant of a virtio device for the machine's bus.
func (l Launcher) device(name string) string {
	if l.Machine == "microvm" {
		return name + "-device"
	}
	return name + "-pci"
}

// share is a 9p share of a directory: files have their real owners and modes,
// and QEMU can do with them what its confined user can.
func (l Launcher) share(dir, tag string, readOnly bool) []string {
	mode := ""
	if readOnly {
		mode = ",readonly=on"
	}
	path := strings.ReplaceAll(dir, ",", ",,") // QEMU's way to quote it
	return []string{
		"-fsdev", fmt.Sprintf("local,id=%s,path=%s,security_model=none,multidevs=remap%s", tag, path, mode),
		"-device", fmt.Sprintf("%s,fsdev=%s,mount_tag=%s", l.device("virtio-9p"), tag, tag),
	}
}

// kernelLine is the kernel's command line. Without the TSC's frequency and the
// word that it can be relied upon, half of microvm's boots under TCG hang.
// The crypto layer's self-tests cost 0.6 s.
func (l Launcher) kernelLine(spec machine.Spec) string {
	args := []string{
		"console=" + l.serial(), "quiet", "panic=-1", "rdinit=/init",
		"cryptomgr.notests", "random.trust_cpu=on", "mitigations=off", "lsm=", "selinux=0", "apparmor=0", "audit=0",
	}
	if l.Accel != KVM && runtime.GOARCH == "amd64" {
		args = append(args, "tsc=reliable", "no_timer_check")
		if khz := tscKHz(); khz != 0 && l.Machine == "microvm" {
			args = append(args, fmt.Sprintf("tsc_early_khz=%d", khz))
		}
	}
	args = append(args, spec.KernelArgs...)
	return strings.Join(append(args, "--", machine.Mark, Kind), " ")
}

func (l Launcher) serial() string {
	if l.Machine == "virt" {
		return "ttyAMA0"
	}
	return "ttyS0"
}
