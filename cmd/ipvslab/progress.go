package main

import (
	"fmt"
	"time"
)

// patience is how long something may take without a word about it.
const patience = time.Second

// progress makes a function that tells on standard error what is being done,
// once it takes longer than a person waits without wondering.
func (a *app) progress() func(step string) {
	began := time.Now()
	return func(step string) {
		if time.Since(began) > patience {
			fmt.Fprintf(a.err, "ipvslab: %s ...\n", step)
		}
	}
}

// warn tells on standard error what may surprise, and stopped nothing.
func (a *app) warn(text string) { fmt.Fprintf(a.err, "ipvslab: warning: %s\n", text) }
