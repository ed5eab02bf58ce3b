// Command matrix runs the suite's kernel tests on every kernel at hand and
// writes docs/kernels.md: what differs between them, all of it as it was seen.
//
// At hand are Debian's user-mode Linux, 6.12 built as user-mode Linux
// (ci/kernel/build.sh), Debian's images of both under QEMU, and those named on
// the command line. What a kernel can do and which rules it follows is found
// out inside it by package probe and oracle.Detect; the results are those of
// `go test -json`. Under QEMU's emulation a stated part of the suite runs. A
// kernel that does not boot is a row that says so.
//
//	make build && go run ./ci/matrix -out docs/kernels.md [KERNEL...]
//
// It runs in the top directory of the source tree, after `make build`. Nothing
// imports it.
package main
