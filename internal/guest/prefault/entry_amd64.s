#include "textflag.h"

// entry is where the kernel starts the program, if it is linked so. The stack is as execve(2) leaves it: argc, argv, 0, envp, 0, auxv (System V
// ABI, AMD64 supplement, 3.4.1). The runtime's own entry wants it so, too.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ 0(SP), AX
	LEAQ 16(SP)(AX*8), BX         // envp
	MOVQ $0x5f42414c53565049, R8  // "IPVSLAB_"
	MOVQ $0x6d753d5453455547, R9  // "GUEST=um"
	XORL R10, R10                 // whether it says so

	// The kernel starts its helper, /proc/1/exe, with an environment of its own.
	MOVQ 8(SP), AX                // argv[0]
	MOVQ $0x2f312f636f72702f, CX  // "/proc/1/"
	TESTQ AX, AX
	JZ   variable
	CMPQ (AX), CX
	JNE  variable
	MOVL $1, R10

variable:
	MOVQ  (BX), AX
	ADDQ  $8, BX
	TESTQ AX, AX
	JZ    auxiliary
	CMPQ  (AX), R8
	JNE   variable
	CMPQ  8(AX), R9
	JNE   variable
	CMPW  16(AX), $0x006c         // "l", and the end
	JNE   variable
	MOVL  $1, R10
	JMP   variable

auxiliary:
	TESTL R10, R10
	JZ    start
	XORL  R8, R8                  // the headers
	XORL  R9, R9                  // how many

value:
	MOVQ  0(BX), AX
	MOVQ  8(BX), CX
	ADDQ  $16, BX
	CMPQ  AX, $3                  // AT_PHDR
	JNE   count
	MOVQ  CX, R8

count:
	CMPQ  AX, $5                  // AT_PHNUM
	JNE   more
	MOVQ  CX, R9

more:
	TESTQ AX, AX                  // AT_NULL
	JNZ   value
	TESTQ R8, R8
	JZ    start
	SUBQ  $16, SP
	MOVQ  R8, 0(SP)
	MOVQ  R9, 8(SP)
	CALL  ·populate(SB)
	ADDQ  $16, SP
	MOVB  $1, ·entered(SB)

start:
	JMP _rt0_amd64_linux(SB)

// func populate(first *header, n uintptr)
//
// A system call keeps all registers but AX, CX and R11.
TEXT ·populate(SB), NOSPLIT, $0-16
	MOVQ first+0(FP), R12
	MOVQ n+8(FP), R13

next:
	SUBQ $1, R13
	JLT  over
	CMPL 0(R12), $1               // PT_LOAD
	JNE  skip

	// the pages of what the file holds
	MOVQ 16(R12), DI              // vaddr
	MOVQ 32(R12), SI              // filesize
	LEAQ 4095(SI)(DI*1), SI
	ANDQ $~4095, DI
	ANDQ $~4095, SI
	SUBQ DI, SI
	JLE  skip

	MOVL  4(R12), R8              // flags
	MOVL  $22, DX                 // MADV_POPULATE_READ
	TESTL $2, R8                  // PF_W
	JZ    advise
	MOVL  $23, DX                 // MADV_POPULATE_WRITE

advise:
	MOVL  $28, AX                 // SYS_madvise
	SYSCALL
	TESTQ AX, AX
	JNZ   skip

	// R9: PROT_READ, PROT_WRITE, PROT_EXEC are PF_R, PF_W, PF_X from the other end
	MOVL R8, R9
	ANDL $2, R9
	MOVL R8, AX
	SHRL $2, AX
	ANDL $1, AX
	ORL  AX, R9
	MOVL R8, AX
	ANDL $1, AX
	SHLL $2, AX
	ORL  AX, R9

	// the other protection: code is writable for a moment, all else executable
	MOVL  R9, DX
	ORL   $4, DX                  // PROT_EXEC
	CMPL  R9, $5                  // PROT_READ, PROT_EXEC
	JNE   change
	ORL   $2, DX                  // PROT_WRITE

change:
	MOVL $10, AX                  // SYS_mprotect
	SYSCALL
	MOVL R9, DX
	MOVL $10, AX
	SYSCALL

skip:
	ADDQ $56, R12
	JMP  next

over:
	RET
