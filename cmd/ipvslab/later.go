package main

import "github.com/spf13/cobra"

func newTest(*app) *cobra.Command { return &cobra.Command{Use: "test"} }
