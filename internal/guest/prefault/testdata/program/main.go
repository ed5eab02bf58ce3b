// Program prints where its heap is, and its memory map.
package main

import (
	"fmt"
	"os"

	_ "github.com/ipvslab/ipvslab/internal/guest/prefault"
)

// onHeap is made before the map is read: what reading needs may be in a piece
// of the heap that was not there when the map was made.
var onHeap = new([64]byte)

func main() {
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%p\n%s", onHeap, maps)
}
