package store

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", " a\nb\t": "a b", "\x1b[2J": "[2J", "bad\xffutf": "bad?utf", "grün": "grün",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
	}
	long := oneLine(strings.Repeat("ü", 400))
	if len(long) > maxText || !utf8.ValidString(long) || !strings.HasSuffix(long, "…") {
		t.Errorf("long text became %d bytes: %q", len(long), long)
	}
}
