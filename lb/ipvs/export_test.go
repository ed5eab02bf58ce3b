package ipvs

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Tap has fn see each request that goes to the kernel, as a word such as
// "set-dest" or "get-dest dump", until stop is called.
func Tap(fn func(request string)) (stop func()) {
	names := map[byte]string{
		cmdGetService: "get-service", cmdSetDest: "set-dest", cmdNewDest: "new-dest", cmdDelDest: "del-dest", cmdGetDest: "get-dest",
	}
	tap = func(b []byte) {
		for len(b) >= unix.SizeofNlMsghdr+genlHeader {
			size, flags, cmd := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint16(b[6:]), b[unix.SizeofNlMsghdr]
			name := names[cmd]
			if name == "" {
				name = fmt.Sprintf("command %d", cmd)
			}
			if flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP {
				name += " dump"
			}
			fn(name)
			b = b[min(align4(int(size)), len(b)):]
		}
	}
	return func() { tap = nil }
}
