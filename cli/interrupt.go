package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// graceShown is how long a graceful end may take before somebody is told that
// there is another one.
const graceShown = time.Second

// interruptible ends the context at the first Ctrl-C or SIGTERM, and the program
// at the second: what ends gracefully may take as long as others let it. stop gives
// the signals back.
func (p *program) interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2) // sent by package signal
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	over := make(chan struct{}) // closed by stop
	go func() {
		var slow <-chan time.Time // nil before the first
		for {
			select {
			case <-signals:
				if slow != nil {
					os.Exit(exitInterrupted)
				}
				cancel()
				slow = time.After(graceShown)
			case <-slow:
				p.out.notef("Still ending; Ctrl-C again ends it at once.\n")
			case <-over:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(over)
		cancel()
	}
}
