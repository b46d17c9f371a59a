package cli

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTablesAreForPeopleOrForPrograms(t *testing.T) {
	rows := func() [][]string {
		return [][]string{{"web.1", "✓ healthy", "a\tb"}, {"worker.12", "✗ failed", ""}}
	}
	var out bytes.Buffer
	o := &output{out: &out}
	o.table([]string{"INSTANCE", "STATE", "WHY"}, rows())
	if got, want := out.String(), "web.1\t✓ healthy\ta b\nworker.12\t✗ failed\t\n"; got != want {
		t.Errorf("piped: %q", got)
	}
	out.Reset()
	o = &output{out: &out, outTTY: true}
	o.table([]string{"INSTANCE", "STATE", "WHY"}, rows())
	if diff := cmp.Diff("INSTANCE   STATE      WHY\nweb.1      ✓ healthy  a\tb\nworker.12  ✗ failed\n", out.String()); diff != "" {
		t.Errorf("on a terminal: %s", diff)
	}
	out.Reset()
	o.outStyle = style{color: true, ascii: true}
	o.table([]string{"A"}, [][]string{{"✓ ok"}})
	if got, want := out.String(), "\x1b[2mA\x1b[0m\n\x1b[32m+ ok\x1b[0m\n"; got != want {
		t.Errorf("coloured, in ASCII: %q", got)
	}
}

func TestColourIsDecidedInOrder(t *testing.T) {
	for _, c := range []struct {
		when string
		env  map[string]string
		tty  bool
		want bool
	}{
		{"auto", nil, true, true}, {"auto", nil, false, false}, {"always", map[string]string{"NO_COLOR": "1"}, false, true}, {"never", map[string]string{"FORCE_COLOR": "1"}, true, false},
		{"auto", map[string]string{"NO_COLOR": "1", "FORCE_COLOR": "1"}, true, false}, {"auto", map[string]string{"FORCE_COLOR": "1"}, false, true},
		{"auto", map[string]string{"TERM": "dumb"}, true, false},
	} {
		o := &output{outTTY: c.tty}
		o.paint(func(k string) string { return c.env[k] }, c.when)
		if o.outStyle.color != c.want {
			t.Errorf("%+v: %v", c, o.outStyle.color)
		}
	}
	for locale, utf8 := range map[string]bool{"": true, "C": false, "POSIX": false, "C.UTF-8": true, "de_DE.utf8": true, "de_DE.ISO-8859-1": false} {
		if got := utf8Locale(func(k string) string { return map[string]string{"LANG": locale}[k] }); got != utf8 {
			t.Errorf("LANG=%s: %v", locale, got)
		}
	}
}
