// Program prints where its heap is, and its memory map.
package main

import (
	"fmt"
	"os"

	_ "github.com/ipvslab/ipvslab/internal/guest/prefault"
)

func main() {
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%p\n%s", maps, maps)
}
