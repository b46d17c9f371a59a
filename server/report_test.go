package server

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"paas/api"
	"paas/cluster"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"hello":                          "hello",
		"\x1b[31mred\x1b[0m":             "red",
		"\x1b]0;title\x07text":           "text",
		"\x1b]8;;http://x\x1b\\link":     "link",
		" 10%\r 50%\r100%":               "100%",
		"line\r\n":                       "line",
		"a\x00b\x08c":                    "abc",
		"tab\tkept":                      "tab    kept",
		"two\nlines\n":                   "two lines",
		"\x1b[":                          "",
		"über café":                      "über café",
		"right\u202eto left\u2066hidden": "rightto lefthidden",
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m")
	f.Add("\xff\xfe\r\x9b31m")
	f.Fuzz(func(t *testing.T, in string) {
		out := plain(in)
		if !utf8.ValidString(out) || len(out) > 3*maxLineBytes {
			t.Errorf("%q → %q", in, out)
		}
		for _, r := range out {
			if unicode.IsControl(r) {
				t.Errorf("%q → %q holds %U", in, out, r)
			}
		}
		if plain(out) != out {
			t.Errorf("plain is not settled: %q → %q", out, plain(out))
		}
	})
}

func TestLineWriter(t *testing.T) {
	var got []string
	w := lineWriter{line: func(s string) { got = append(got, s) }}
	for _, piece := range []string{"on", "e\ntwo\n\nthr", "ee"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	w.flush()
	w.flush()
	if !slices.Equal(got, []string{"one", "two", "", "three"}) {
		t.Errorf("%q", got)
	}
}

// A pusher may ask a new leader before the agent that has the last words has found it.
func TestANewLeaderWaitsForTheAgentsEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvidence()
		words := []api.Observed{{ID: "a-1", Log: []string{"boom"}}}
		took := func(id cluster.AllocationID, want int) time.Duration {
			t.Helper()
			begun := time.Now()
			if got := e.of(t.Context(), "n1", id); len(got) != want {
				t.Errorf("last words of %s: %q", id, got)
			}
			return time.Since(begun)
		}
		time.AfterFunc(time.Second, func() { e.keep("n2", nil) })
		time.AfterFunc(2*time.Second, func() { e.keep("n1", words) })
		if d := took("a-1", 1); d != 2*time.Second {
			t.Errorf("told after %v", d)
		}
		if d := took("a-silent", 0) + took("", 0); d != 0 {
			t.Errorf("waited %v for a node that has told all that it knows", d)
		}
		e.forget()
		if d := took("a-silent", 0); d != evidencePatience {
			t.Errorf("waited %v for a node that does not come", d)
		}
	})
}

func TestEvidenceIsBounded(t *testing.T) {
	e := newEvidence()
	var long []string
	for range 1000 {
		long = append(long, strings.Repeat("x", 1000))
	}
	for i := range 2 * evidenceKept {
		e.keep("n1", []api.Observed{{ID: allocationID(i), Log: long}, {ID: "a-silent"}})
	}
	if len(e.lines) != evidenceKept || len(e.order) != evidenceKept {
		t.Errorf("%d and %d are kept", len(e.lines), len(e.order))
	}
	if got := e.of(t.Context(), "n1", allocationID(2*evidenceKept-1)); len(got) != evidenceTold {
		t.Errorf("%d lines are told", len(got))
	}
	if got := e.of(t.Context(), "n1", allocationID(0)); len(got) != 0 {
		t.Errorf("the oldest is still there: %d lines", len(got))
	}
}
