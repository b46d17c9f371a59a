package cli

import (
	"bytes"
	"log"
	"log/slog"
	"os"
	"strings"
	"testing"
)

func TestGlobalLogIsDebug(t *testing.T) {
	t.Cleanup(func() { log.SetOutput(os.Stderr); log.SetFlags(log.LstdFlags) })
	for level, want := range map[slog.Level]bool{slog.LevelDebug: true, slog.LevelInfo: false} {
		var out bytes.Buffer
		adoptGlobalLog(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
		log.Print("Unsolicited response")
		if got := strings.Contains(out.String(), "level=DEBUG msg=\"Unsolicited response\""); got != want {
			t.Errorf("at %s: %q", level, out.String())
		}
	}
}
