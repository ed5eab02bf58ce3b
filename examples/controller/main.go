// Command controller is a director of one's own in Go: it makes the table what
// $IPVSLAB_SERVICES says, and again on SIGHUP. In a topology:
// director: {kind: command, argv: [./controller]}.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	table, err := ipvs.Open(ctx, "") // of the namespace that this process is in: the node's
	if err != nil {
		return err
	}
	defer table.Close()
	controller := lb.NewController(table, lb.ControllerOptions{})
	for {
		data, err := os.ReadFile(os.Getenv("IPVSLAB_SERVICES"))
		if err != nil {
			return err
		}
		var services []struct{ Spec lb.Service }
		if err := json.Unmarshal(data, &services); err != nil {
			return err
		}
		var desired []lb.Service
		for _, s := range services {
			desired = append(desired, s.Spec)
		}
		report, err := controller.Reconcile(ctx, desired) // with the fewest changes, each read back
		if err != nil {
			return err
		}
		log.Printf("%d changes", len(report.Done))
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		}
	}
}
