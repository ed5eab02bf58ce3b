// Command bench measures ipvslab's figures side by side with what they are to
// be compared with, and writes the report docs/benchmarks.md.
//
// Contenders take turns, in one order and then in the other, so that what else
// the machine does hits all of them; what is compared is the median of the
// ratios within the rounds. A figure that is missed, or can't be measured here,
// is said in the report: the program fails only if it can't write one.
//
//	make build && go run ./ci/bench -out docs/benchmarks.md
//
// It runs in the top directory of the source tree, after `make build`. Nothing
// imports it.
package main
