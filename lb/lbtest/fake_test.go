package lbtest_test

import (
	"testing"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/lbtest"
)

func TestFakeConforms(t *testing.T) {
	lbtest.Conformance(t, func(*testing.T) lb.Table { return new(lbtest.Fake) })
}
