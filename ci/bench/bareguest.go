package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bootBare boots user-mode Linux with an init that ends it, as directly as can
// be, with the command line that package uml uses, but for the speed of its delay loop.
func bootBare(ctx context.Context, kernel, initPath, dir string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, kernel,
		"mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init="+initPath,
		"con=null", "con0=null,fd:1", "ssl=null", "uml_dir="+dir+"/uml", "umid=bench",
		"quiet", "initcall_blacklist=raid6_select_algo,init_zswap,calibrate_xor_blocks", "pty.legacy_count=0",
		"lsm=", "selinux=0", "audit=0", "panic=-1")
	cmd.Env = append(os.Environ(), "TMPDIR="+memoryDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has children
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cpu, err := freeCPU()
	if err != nil {
		return 0, err
	}
	defer cpu.Close()
	console := new(limited)
	cmd.Stdout, cmd.Stderr = console, console
	start := time.Now()
	if err := startPinned(cmd, cpu.number); err != nil {
		return 0, fmt.Errorf("start bare guest: %w", err)
	}
	err = cmd.Wait()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("run bare guest: %w: %s", err, console.text)
	}
	return took, nil
}

// memoryDir is where the guest's memory is a file: in memory, where that allows
// execution, as the sandbox has it.
func memoryDir() string {
	const dir = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Flags&unix.ST_NOEXEC != 0 || st.Bavail*uint64(st.Bsize) < 600<<20 {
		return os.TempDir()
	}
	return dir
}

// limited keeps the first 4,096 bytes.
type limited struct{ text []byte }

func (l *limited) Write(p []byte) (int, error) {
	l.text = append(l.text, p[:min(len(p), 4096-len(l.text))]...)
	return len(p), nil
}

// pinned is a CPU that no other guest has.
type pinned struct {
	*os.File
	number int
}

// freeCPU takes one as package uml does: by a lock on the kernel's file for it.
func freeCPU() (pinned, error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return pinned{}, fmt.Errorf("read CPU affinity: %w", err)
	}
	var last pinned
	for n := range len(allowed) * 64 {
		if !allowed.IsSet(n) {
			continue
		}
		f, err := os.Open(fmt.Sprintf("/sys/devices/system/cpu/cpu%d", n))
		if err != nil {
			return pinned{}, fmt.Errorf("take a CPU: %w", err)
		}
		last = pinned{f, n}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			break
		}
	}
	return last, nil
}

// startPinned starts a command on one CPU: children inherit the affinity of
// the thread that makes them (sched_setaffinity(2)).
func startPinned(cmd *exec.Cmd, number int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(number)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	err := cmd.Start()
	if rerr := unix.SchedSetaffinity(0, &before); err == nil {
		err = rerr
	}
	return err
}

// powerOffInit is an x86-64 program, all of it: reboot(2) with the two magic
// numbers and LINUX_REBOOT_CMD_POWER_OFF.
func powerOffInit() []byte {
	const base = 0x400000
	const headers = 64 + 56 // ELF header and one program header (elf(5))
	code := []byte{0xb8}    // mov eax, SYS_reboot
	code = binary.LittleEndian.AppendUint32(code, 169)
	code = append(code, 0xbf) // mov edi, LINUX_REBOOT_MAGIC1
	code = binary.LittleEndian.AppendUint32(code, unix.LINUX_REBOOT_MAGIC1)
	code = append(code, 0xbe) // mov esi, LINUX_REBOOT_MAGIC2
	code = binary.LittleEndian.AppendUint32(code, unix.LINUX_REBOOT_MAGIC2)
	code = append(code, 0xba) // mov edx, LINUX_REBOOT_CMD_POWER_OFF
	code = binary.LittleEndian.AppendUint32(code, unix.LINUX_REBOOT_CMD_POWER_OFF)
	code = append(code, 0x0f, 0x05) // syscall

	size := uint64(headers + len(code))
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	u16 := func(v ...uint16) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint16(b, x)
		}
	}
	u32 := func(v ...uint32) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
	}
	u64 := func(v ...uint64) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint64(b, x)
		}
	}
	u16(2, 62) // ET_EXEC, EM_X86_64
	u32(1)
	u64(base+headers, 64, 0) // entry, program headers, no section headers
	u32(0)
	u16(64, 56, 1, 0, 0, 0)
	u32(1, 5)                              // PT_LOAD, read and execute
	u64(0, base, base, size, size, 0x1000) // offset, addresses, sizes, alignment
	return append(b, code...)
}
