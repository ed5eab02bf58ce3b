package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func testTime(o options) figure {
	return figure{
		title: "`make test`",
		about: "Units, command-line scripts and the scenarios in a real kernel, everything fetched and the build cache as it was.",
		measure: func(ctx context.Context) (findings, error) {
			if !o.makeTest {
				return findings{}, errors.New("it takes minutes; `go run ./ci/bench -test` measures it")
			}
			return measureTest(ctx)
		},
	}
}

func measureTest(ctx context.Context) (findings, error) {
	const limit = 5 * time.Minute
	took, err := timed(ctx, []string{"make", "test"})
	if err != nil {
		return findings{}, err
	}
	mark := "< 5 min: met"
	if took >= limit {
		mark = "< 5 min: **missed**"
	}
	return findings{values: []value{{"wall time", fmt.Sprint(took.Round(time.Second)), mark}}}, nil
}
