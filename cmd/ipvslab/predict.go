package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipvslab/ipvslab/lb/oracle/predict"
)

func newPredict(a *app) *cobra.Command {
	var from source
	var asJSON bool
	c := &cobra.Command{
		Use:   "predict [FILE]",
		Short: "Say what a scheduler will do with a list of events, without any kernel",
		Long: `Predict reads a service and a list of events (from FILE, or standard input)
and prints what the scheduler's model does with each connection. The model is
the one that the scenarios hold the kernel to. A line is one of

  service tcp 10.0.0.100:80 wrr [flags sh-port,ops] [persistent 300] [mask 24]
  service fwmark4 7 dh              (or fwmark6)
  kernel total crossing             (the rules since Linux 6.1.183)
  setting expire-quiescent-template (or expire-nodest-conn, no-conn-reuse)
  add 10.0.1.1:80 [weight 1] [upper 0] [lower 0]
  edit 10.0.1.1:80 weight 0
  remove 10.0.1.1:80
  open 192.0.2.1:4000 [via 10.0.0.101:80] [udp]
  open x5                           (five clients, whose connections stay)
  visit x5                          (five that end before the next begins)
  ack, fin, rst, server-ack, server-fin, server-rst 192.0.2.1:4000
  activate, deactivate, finish, close, expire: like those
  service tcp 10.0.0.100:80 sed     (a second time: an edit, as by ipvsadm -E)
  remove-service                    (a service line after it adds it again)

An open without more is half open. The command replay does the same on a real
kernel and compares.`,
		Example: "  printf '%s\\n' 'service tcp 10.0.0.100:80 wrr' 'add 10.0.1.1:80 weight 1' \\\n    'add 10.0.1.2:80 weight 3' 'open x8' | ipvslab predict",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			input, err := a.readScript(from, strings.Join(args, ""))
			if err != nil {
				return err
			}
			result, err := predict.Run(input)
			if err != nil {
				return usageError{err}
			}
			if asJSON {
				return a.printJSON(result)
			}
			return result.WriteText(a.out)
		},
	}
	from.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
