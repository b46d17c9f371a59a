package store

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestRaftSpeaksThroughSlog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newRaftLog(slog.New(slog.NewTextHandler(&out, nil))).With("peer", "b")
		l.Info("entering follower state")
		l.Warn("heartbeat timeout reached, starting election")
		if out.Len() > 0 {
			t.Errorf("routine news were logged: %s", out.String())
		}
		l.Error("failed to heartbeat to", "error", "refused", "n", hclog.Fmt("%d+%d", 1, 2))
		l.Error("failed to heartbeat to")
		text := out.String()
		if strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "err=refused n=1+2") || !strings.Contains(text, "peer=b") {
			t.Errorf("logged %q, want one warning", text)
		}
		<-time.After(repeatAfter)
		l.Error("failed to heartbeat to")
		if n := strings.Count(out.String(), "level=WARN"); n != 2 {
			t.Errorf("%d warnings after a while, want 2", n)
		}
	})
}

func TestIdleStoreLogsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		defer g.stop()
		g.leader()
		g.converge()
		synctest.Wait()
		if text := g.out.String(); strings.Count(text, "leading the cluster") != 1 || strings.Contains(text, "level=WARN") {
			t.Errorf("a quiet start logged %s", text)
		}
		g.out.Reset()
		<-time.After(5 * time.Minute)
		synctest.Wait()
		if g.out.Len() > 0 {
			t.Errorf("five idle minutes logged %s", g.out.String())
		}
	})
}
