package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/api"
	"paas/cluster"
)

// screen is what a terminal shows after text: it knows the sequences that board
// uses and no others.
func screen(t *testing.T, text string) []string {
	t.Helper()
	lines, row := []string{""}, 0
	for len(text) > 0 {
		switch {
		case text[0] == '\n':
			if row++; row == len(lines) {
				lines = append(lines, "")
			}
			text = text[1:]
		case text[0] == '\r':
			text = text[1:] // board clears what follows
		case strings.HasPrefix(text, "\x1b[J"):
			lines = append(lines[:row], "")
			text = text[3:]
		case strings.HasPrefix(text, "\x1b["):
			var n int
			if _, err := fmt.Sscanf(text, "\x1b[%dA", &n); err != nil || row-n < 0 {
				t.Fatalf("unknown sequence, or up beyond the screen, in %q", text[:min(20, len(text))])
			}
			row -= n
			text = text[strings.IndexByte(text, 'A')+1:]
		default:
			end := strings.IndexAny(text, "\n\r\x1b")
			if end < 0 {
				end = len(text)
			}
			lines[row] += text[:end]
			text = text[end:]
		}
	}
	return lines
}

// stillSpinner makes every frame the same one.
var stillSpinner = strings.NewReplacer("⠋", "⠹", "⠙", "⠹", "⠸", "⠹", "⠼", "⠹", "⠴", "⠹", "⠦", "⠹", "⠧", "⠹", "⠇", "⠹", "⠏", "⠹")

func plainBoard(out *bytes.Buffer, width, height int) *board {
	return newBoard(out, style{}, func() (int, int) { return width, height })
}

func TestBoardPaintsInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := plainBoard(&out, 100, 24)
		step := func(s string) { b.show(api.Progress{Kind: api.ProgressStep, Text: s}) }
		step("Building")
		for i := range 20 {
			b.show(api.Progress{Kind: api.ProgressLine, Text: fmt.Sprintf("line %d\x1b[2J", i)})
		}
		time.Sleep(2 * time.Second)
		step("Rolling out v1 → v2")
		b.show(news("web.1", 2, cluster.AllocationStarting, ""))
		b.show(news("web.2", 2, cluster.AllocationUnhealthy, "GET /healthz answered 503\nevil line"))
		time.Sleep(250 * time.Millisecond)
		b.mu.Lock()
		shown := out.String()
		b.mu.Unlock()
		want := []string{"  ✓ Building  2s", "  ⠹ Rolling out v1 → v2  200ms", "      web.1      v2    node-1     … starting",
			"      web.2      v2    node-1     ✗ unhealthy  GET /healthz answered 503 evil line", ""}
		if diff := cmp.Diff(want, screen(t, stillSpinner.Replace(shown))); diff != "" {
			t.Error(diff)
		}
		b.show(news("web.1", 2, cluster.AllocationHealthy, ""))
		b.close(good)
		if diff := cmp.Diff([]string{"  ✓ Building  2s", "  ✓ Rolling out v1 → v2  250ms", ""}, screen(t, out.String())); diff != "" {
			t.Error(diff)
		}
	})
}

// TestBoardSaysHowTheLastStepWent: a step that failed or goes on has no tick.
func TestBoardSaysHowTheLastStepWent(t *testing.T) {
	for how, want := range map[glyph]string{good: "  ✓ Rolling out v2  0s", bad: "  ✗ Rolling out v2  0s", busy: "  … Rolling out v2  0s"} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			b := plainBoard(&out, 100, 24)
			b.show(api.Progress{Kind: api.ProgressStep, Text: "Building"})
			b.show(api.Progress{Kind: api.ProgressStep, Text: "Rolling out v2"})
			b.close(how)
			if diff := cmp.Diff([]string{"  ✓ Building  0s", want, ""}, screen(t, out.String())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBoardFitsTheScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := plainBoard(&out, 40, 10)
		b.show(api.Progress{Kind: api.ProgressStep, Text: strings.Repeat("long ", 40)})
		for i := range 40 {
			n := news(fmt.Sprintf("web.%d", i), 2, cluster.AllocationHealthy, "")
			n.Instance.Zone = string(rune('a' + i%2))
			b.show(n)
			b.show(api.Progress{Kind: api.ProgressLine, Text: "output"})
		}
		time.Sleep(time.Second)
		b.mu.Lock()
		lines, zones := screen(t, strings.ReplaceAll(out.String(), "\x1b[0m", "")), b.instances()
		b.mu.Unlock()
		b.close(good)
		if len(lines) > 10 {
			t.Errorf("%d lines on a screen of 10", len(lines))
		}
		for _, l := range lines {
			if n := len([]rune(l)); n >= 40 {
				t.Errorf("%d columns on a screen of 40: %q", n, l)
			}
		}
		if len(zones) != 2 || !strings.Contains(zones[0], "20 v2 healthy") {
			t.Errorf("replicas by zone: %q", zones)
		}
	})
}

func TestBoardPaintsAtMostTenTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := plainBoard(&out, 80, 24)
		b.show(api.Progress{Kind: api.ProgressStep, Text: "Building"})
		for range 5000 {
			b.show(api.Progress{Kind: api.ProgressLine, Text: "x"})
		}
		time.Sleep(time.Second + time.Millisecond)
		b.close(good)
		if n := strings.Count(out.String(), "\x1b[J"); n > 12 {
			t.Errorf("%d paintings in a second", n)
		}
	})
}

func TestPlainNewsLeavesTheLastWord(t *testing.T) {
	var out bytes.Buffer
	p := plainNews{api.NewPlainNews(&out)}
	p.show(api.Progress{Kind: api.ProgressStep, Text: "Building"})
	p.show(api.Progress{Kind: api.ProgressDone})
	p.close(good)
	if got, want := out.String(), "-----> Building\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFollowEndsTheWaitAndNotTheWork is Ctrl-C, --timeout, failure and success.
func TestFollowEndsTheWaitAndNotTheWork(t *testing.T) {
	failure := cluster.Errorf(cluster.KindRolloutFailed, "rollout.crashed", "v2 did not start")
	for _, c := range []struct {
		name  string
		flags []string
		stop  time.Duration // Ctrl-C after
		work  func(context.Context, func(api.Progress)) error
		code  int
		text  string
	}{
		{"done", nil, 0, func(context.Context, func(api.Progress)) error { return nil }, 0, ""},
		{"failed", nil, 0, func(_ context.Context, report func(api.Progress)) error {
			report(api.Progress{Kind: api.ProgressFailed, Log: []string{"the last words"}, Error: failure})
			return failure
		}, exitRollout, "the last words"},
		{"timeout", []string{"--timeout", "3s"}, 0, untilDone, exitTimeout, "the wait of 3s is over"},
		{"interrupted", nil, time.Second, untilDone, exitInterrupted, "Deployment d-1 goes on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out, errs bytes.Buffer
				none := func(string) string { return "" }
				p := &program{root: verbs(), env: none, out: newOutput(&out, &errs, none)}
				a, err := arrange(p.root, append([]string{"restart", "--progress=plain"}, c.flags...))
				if err != nil {
					t.Fatal(err)
				}
				in, err := p.at(a)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if c.stop > 0 {
					time.AfterFunc(c.stop, cancel)
				}
				err = in.follow(ctx, func() leaving { return leaving{"deployment d-1 goes on", "watch it"} }, c.work)
				p.out.show(err)
				if exitCode(err) != c.code || !strings.Contains(errs.String(), c.text) {
					t.Errorf("exit %d, said:\n%s", exitCode(err), errs.String())
				}
				if c.code == exitRollout && !errors.Is(err, failure) {
					t.Errorf("the error was lost: %v", err)
				}
			})
		})
	}
}

func untilDone(ctx context.Context, _ func(api.Progress)) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestCutCountsNoEscapes(t *testing.T) {
	s := style{color: true}
	if got, want := cut(s.green("✓✓✓✓✓")+"tail", 4), "\x1b[32m✓✓✓\x1b[0m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := cut("short", 80); got != "short" {
		t.Errorf("got %q", got)
	}
}
