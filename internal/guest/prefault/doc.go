// Package prefault is imported for its effect: in user-mode Linux a program's
// pages are mapped all at once when it starts, and not each at its first touch.
//
// There a touch costs 60 to 90 µs, several changes of processes on the host,
// and a large Go program touches 700 pages before its first package is initialised and
// 800 more before main. The kernel fills its own page table many pages at a time, but tells
// the host of the one page that was touched (arch/um/kernel/trap.c: handle_page_fault). When
// the protection of a range changes it tells of all that the range has, some 0.2 µs a
// page (arch/um/kernel/tlb.c: fix_range_common). So every part is populated
// (madvise(2), MADV_POPULATE_READ) and then given another protection and its own again.
// It never loses one that it needs: threads may be using it.
//
// A program that is linked with
//
//	-ldflags=-E=github.com/ipvslab/ipvslab/internal/guest/prefault.entry
//
// does so with its first instruction; any other when this package is
// initialised, which is early: it must import nothing but syscall and unsafe. Nothing
// here can fail in a way that matters: what isn't mapped is mapped when touched.
package prefault
