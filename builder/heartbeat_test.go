package builder

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSilentBuildsShowThatTheyLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		out := newOutput(&log, 1<<20)
		said := func() string {
			out.mu.Lock()
			defer out.mu.Unlock()
			return log.String()
		}
		ctx, cancel := context.WithCancel(t.Context())
		go out.heartbeat(ctx, "building")
		time.Sleep(heartbeatEvery - time.Second)
		out.line("a step speaks")
		time.Sleep(heartbeatEvery)
		synctest.Wait()
		if strings.Contains(said(), "still") {
			t.Errorf("too early:\n%s", said())
		}
		time.Sleep(2 * heartbeatEvery)
		cancel()
		synctest.Wait()
		if n := strings.Count(said(), "still building, "); n != 2 {
			t.Errorf("%d signs of life:\n%s", n, said())
		}
		before := said()
		time.Sleep(time.Hour)
		if said() != before {
			t.Error("it lives on after its end")
		}
	})
}
