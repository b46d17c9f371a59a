package server

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"paas/api"
)

// Who follows logs and does not read must cost a bounded amount of memory, and
// must miss nothing when they read on.
func TestFollowersHoldABoundedNumberOfLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const replicas, each = 3, 2 * maxHeld
		ctx, cancel := context.WithCancel(t.Context())
		lines := &lineHeap{news: make(chan struct{}, 1), room: make(chan struct{}, 1)}
		var writers sync.WaitGroup
		for i := range replicas {
			writers.Go(func() {
				for n := range each {
					if err := lines.add(ctx, api.LogLine{Instance: "web." + strconv.Itoa(i+1), At: time.Now()}); err != nil {
						t.Errorf("line %d: %v", n, err)
						return
					}
				}
			})
		}
		synctest.Wait() // nobody reads: all writers wait
		if n := len(lines.lines); n != maxHeld {
			t.Errorf("%d lines are held, want %d", n, maxHeld)
		}
		got, all := 0, errors.New("all")
		err := pump(ctx, lines, func(api.LogLine) error {
			if got++; got == replicas*each {
				return all
			}
			return nil
		})
		if !errors.Is(err, all) {
			t.Errorf("%d of %d lines came: %v", got, replicas*each, err)
		}
		writers.Wait()
		cancel()
	})
}

func TestAFollowerThatLeavesFreesItsReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		lines := &lineHeap{news: make(chan struct{}, 1), room: make(chan struct{}, 1)}
		ended := make(chan error, 1)
		go func() {
			for {
				if err := lines.add(ctx, api.LogLine{}); err != nil {
					ended <- err
					return
				}
			}
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
