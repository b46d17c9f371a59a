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
		ctx, cancel := context.WithCancel(t.Context())
		go out.heartbeat(ctx, "building")
		time.Sleep(heartbeatEvery - time.Second)
		out.line("a step speaks")
		time.Sleep(heartbeatEvery)
		synctest.Wait()
		if strings.Contains(log.String(), "still") {
			t.Errorf("too early:\n%s", log.String())
		}
		time.Sleep(2 * heartbeatEvery)
		cancel()
		synctest.Wait()
		if n := strings.Count(log.String(), "still building, "); n != 2 {
			t.Errorf("%d signs of life:\n%s", n, log.String())
		}
		before := log.Len()
		time.Sleep(time.Hour)
		if log.Len() != before {
			t.Error("it lives on after its end")
		}
	})
}
