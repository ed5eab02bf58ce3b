package prefault

import (
	"syscall"
	"unsafe"
)

// header is a program header (elf(5), Elf64_Phdr).
type header struct {
	kind, flags uint32
	_           uint64 // offset
	vaddr       uint64
	_           uint64 // paddr
	filesize    uint64
	_, _        uint64 // memsize, align
}

const (
	load            = 1          // elf(5): PT_LOAD
	readable        = 4          // PF_R
	writable        = 2          // PF_W
	auxHeaders      = 3          // getauxval(3): AT_PHDR
	auxHeadersCount = 5          // AT_PHNUM
	heapPiece       = 4096 << 10 // what the runtime has mapped at a time (runtime/mpagealloc.go: pallocChunkBytes)
)

// entered tells that the program began with entry, in user-mode Linux.
var entered bool

// populate maps the parts of the program that the n headers describe.
//
//go:noescape
func populate(first *header, n uintptr)

//go:linkname auxv runtime.getAuxv
func auxv() []uintptr

// onHeap is somewhere in the heap's first piece.
var onHeap *[64]byte

func init() {
	if !entered {
		if kind, _ := syscall.Getenv("IPVSLAB_GUEST"); kind != "uml" {
			return
		}
		populate(headers())
	}
	onHeap = new([64]byte)
	heap := header{kind: load, flags: readable | writable, filesize: heapPiece}
	heap.vaddr = uint64(uintptr(unsafe.Pointer(onHeap)) &^ (heapPiece - 1))
	populate(&heap, 1)
}

// headers finds the program's headers in memory, where the kernel says they are.
func headers() (first *header, n uintptr) {
	aux := auxv()
	for i := 0; i+1 < len(aux); i += 2 {
		switch aux[i] {
		case auxHeaders:
			first = *(**header)(unsafe.Pointer(&aux[i+1]))
		case auxHeadersCount:
			n = aux[i+1]
		}
	}
	if first == nil {
		n = 0
	}
	return first, n
}
