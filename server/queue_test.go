package server

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

func TestQueueIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		leave, err := q.enter(t.Context(), "blog", "first", func(string) { t.Error("the first waits") })
		if err != nil {
			t.Fatal(err)
		}
		var order, told []string
		for _, who := range []string{"second", "third"} {
			go func() {
				leave, err := q.enter(t.Context(), "blog", who, func(ahead string) { told = append(told, who+" after "+ahead) })
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, who)
				leave()
			}()
			synctest.Wait()
		}
		// Another app has its own line; whoever gives up leaves it.
		other, err := q.enter(t.Context(), "shop", "other", func(string) { t.Error("apps wait for each other") })
		if err != nil {
			t.Fatal(err)
		}
		other()
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := q.enter(ctx, "blog", "impatient", func(string) {})
			gone <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("gave up with %v", err)
		}
		leave()
		synctest.Wait()
		if !slices.Equal(order, []string{"second", "third"}) {
			t.Errorf("order: %v", order)
		}
		if !slices.Equal(told[:2], []string{"second after first", "third after first"}) {
			t.Errorf("told: %v", told)
		}
		if len(q.lines) > 0 {
			t.Errorf("lines left: %v", q.lines)
		}
	})
}
