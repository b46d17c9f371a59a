package api

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"paas/cluster"
)

func TestPlainProgress(t *testing.T) {
	var b bytes.Buffer
	for _, p := range []Progress{
		{Kind: ProgressStep, Text: "Building with the Dockerfile"},
		{Kind: ProgressLine, Text: "Step 1/3 : FROM debian"},
		{Kind: ProgressLine, Text: "10%\r20%\r\x1b[32m100%\x1b[0m done"},
		{Kind: ProgressLine, Text: strings.Repeat("word ", 40)},
		{Kind: ProgressLine, Text: "       RUN " + strings.Repeat("word ", 30) + "\nEND"},
		{Kind: ProgressLine, Text: strings.Repeat(" ", 200) + "far"},
		{Kind: ProgressLine, Text: ""},
		{Kind: ProgressStep, Text: "Rolling out v4"},
		{Kind: ProgressInstance, Instance: &InstanceNews{Name: "web.1", Release: 4, State: cluster.AllocationStarting, Node: "node-1", Zone: "a"}},
		{Kind: ProgressInstance, Instance: &InstanceNews{Name: "web.1", Release: 3, State: cluster.AllocationHealthy, Desired: cluster.DesiredDrain, Node: "node-1"}},
		{Kind: ProgressInstance, Instance: &InstanceNews{Name: "web.1", Release: 3, State: cluster.AllocationHealthy, Desired: cluster.DesiredStop, Node: "node-1"}},
		{Kind: ProgressInstance, Instance: &InstanceNews{Name: "web.1", Release: 3, State: cluster.AllocationStopped, Desired: cluster.DesiredStop, Node: "node-1"}},
		{Kind: ProgressInstance, Instance: &InstanceNews{Name: "web.2", Release: 4, State: cluster.AllocationBackoff, Reason: "exited with code 1\x1b]0;owned\x07 after 0.8s"}},
		{Kind: ProgressWarning, Text: "web listens on 127.0.0.1 only"},
		{Kind: ProgressDone, Took: 4321 * time.Millisecond, Result: &DeployResult{Release: 4, URL: "https://blog.localhost:8443"},
			Phase: map[string]int64{"build": 812, "rollout": 3400}},
		{Kind: ProgressFailed, Error: &cluster.Error{Message: "release v4 was reverted", Reason: "web.1 exited with code 1", Hint: "paas logs -a blog"},
			Log: []string{"Traceback", "\x1b[31mValueError\x1b[0m: no\tPORT"}},
		{Kind: ProgressFailed, Text: "something failed"},
		{Kind: ProgressDone},
	} {
		RenderPlain(&b, p)
	}
	compareGolden(t, "testdata/plain.golden", b.String())
}

// checkPlain fails when out could do more than show lines.
func checkPlain(t *testing.T, out string) {
	t.Helper()
	if !utf8.ValidString(out) || !strings.HasSuffix(out, "\n") {
		t.Errorf("not whole lines of UTF-8: %q", out)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\n"), "\n") {
		if n := utf8.RuneCountInString(line); n > plainWidth {
			t.Errorf("%d columns: %q", n, line)
		}
		for _, r := range line {
			if unicode.IsControl(r) {
				t.Errorf("control character %U in %q", r, line)
			}
		}
	}
}

func FuzzRenderPlain(f *testing.F) {
	f.Add("a\x1b[31mred\x1b[0m\r\n\tb")
	f.Add("\x1b]8;;http://x\x1b\\link")
	f.Add("\x1b")
	f.Add("\xff\xfe" + strings.Repeat("é", 300))
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range []Progress{
			{Kind: ProgressStep, Text: s}, {Kind: ProgressLine, Text: s}, {Kind: ProgressDone, Text: s},
			{Kind: ProgressInstance, Instance: &InstanceNews{Name: "web.1", Reason: s}},
			{Kind: ProgressFailed, Error: &cluster.Error{Message: s, Reason: s, Hint: s}, Log: []string{s, s}},
		} {
			var b bytes.Buffer
			RenderPlain(&b, p)
			checkPlain(t, b.String())
		}
	})
}

func FuzzDecodeProblem(f *testing.F) {
	f.Add(404, []byte(`{"kind":"not_found","message":"no app"}`))
	f.Add(502, []byte(`<html>`))
	f.Add(500, []byte(`{"kind":"future","message":"x","request_id":"1"}`))
	f.Add(200, []byte(`null`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := decodeProblem(status, body)
		if e.Message == "" {
			t.Error("an error without a message")
		}
		if StatusOf(e.Kind) < 400 {
			t.Errorf("kind %s", e.Kind)
		}
	})
}

func FuzzFrame(f *testing.F) {
	for _, v := range []any{Frame{Kind: FrameStdin, Data: []byte("x")}, Frame{Kind: FrameExit, Code: -1},
		Frame{Kind: FrameError, Error: cluster.NotFound("x", "x")}, RunRequest{App: "blog", Command: []string{"ls"}}} {
		body, err := marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var frame Frame
		var run RunRequest
		_ = unmarshal(body, &run)
		if unmarshal(body, &frame) != nil {
			return
		}
		again, err := marshal(frame)
		if err != nil {
			t.Fatal(err)
		}
		var second Frame
		if err := unmarshal(again, &second); err != nil {
			t.Errorf("%x does not survive: %v", body, err)
		}
	})
}
