package cli

import (
	"strings"
	"testing"
)

// TestRemovingADomainThatTheAppHasNotIsAnError: a script that mistyped a host must
// not go on as if its route had ended.
func TestRemovingADomainThatTheAppHasNotIsAnError(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"domains remove shop.exmaple.com -a blog", exitNotFound, "did you mean: paas domains remove shop.example.com -a blog"},
		{"domains remove other.example.org -a blog", exitNotFound, "list them with: paas domains -a blog"},
		{"domains remove shop.example.com -a shop", exitNotFound, "list them with: paas domains -a shop"}, // another app's
		{"domains remove blog.localhost -a blog", exitConflict, "paas domains add HOST -a blog"},
		{"domains remove shop.example.com -a blog", exitOK, ""},
		{"domains remove shop.example.com -a blog", exitNotFound, "list them with: paas domains -a blog"},
	} {
		if code, errs := b.run(strings.Fields(c.line)); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("paas %s: exit %d, want %d\n%s", c.line, code, c.code, errs)
		}
	}
}
