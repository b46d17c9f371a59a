package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
)

// Exit codes are part of the interface: documented by "paas help exit-codes".
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitLogin       = 4
	exitConflict    = 5
	exitRollout     = 6
	exitUnplaceable = 7
	exitTimeout     = 8
	exitBuild       = 9
	exitChanges     = 10
	exitInterrupted = 130
)

// kindCodes is the one table of error kinds and exit codes.
var kindCodes = [...]struct {
	kind cluster.Kind
	code int
}{
	{cluster.KindInternal, exitFailed},
	{cluster.KindInvalid, exitUsage},
	{cluster.KindNotFound, exitNotFound},
	{cluster.KindConflict, exitConflict},
	{cluster.KindUnauthenticated, exitLogin},
	{cluster.KindForbidden, exitLogin},
	{cluster.KindUnavailable, exitFailed},
	{cluster.KindUnplaceable, exitUnplaceable},
	{cluster.KindBuildFailed, exitBuild},
	{cluster.KindRolloutFailed, exitRollout},
}

// status ends the program with a code and without a word: what there was to say
// has been said, or it is another command's own code.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// coded is an error with an exit code that its kind does not tell.
type coded struct {
	err  *cluster.Error
	code int
}

func (c *coded) Error() string { return c.err.Error() }

// Unwrap makes the cluster.Error visible to errors.As.
func (c *coded) Unwrap() error { return c.err }

// withLog carries the last output of what failed, as evidence.
type withLog struct {
	err error
	log []string
}

func (w *withLog) Error() string { return w.err.Error() }

// Unwrap makes the error visible to errors.As.
func (w *withLog) Unwrap() error { return w.err }

// exitCode is what the program's caller learns of err.
func exitCode(err error) int {
	var s status
	var c *coded
	var e *cluster.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &s):
		return int(s)
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &e):
		for _, k := range kindCodes {
			if k.kind == e.Kind {
				return k.code
			}
		}
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}

// interrupted is Ctrl-C: what goes on without us, and how to see it again.
func interrupted(message, hint string) error {
	return &coded{cluster.Errorf(cluster.KindUnavailable, "interrupted", "%s", message).WithHint(hint), exitInterrupted}
}

// timedOut is --timeout: what goes on without us, and how to see it again.
func timedOut(after time.Duration, message, hint string) error {
	return &coded{cluster.Errorf(cluster.KindUnavailable, "timeout", "%s", message).
		Because("the wait of %s is over", after).WithHint(hint), exitTimeout}
}

// show prints err in three parts, what, why, what to do, on stderr; with --json
// the problem object on stdout as well.
func (o *output) show(err error) {
	var s status
	if err == nil || errors.As(err, &s) {
		return
	}
	e := shortened(asError(err))
	if o.json && !o.told {
		_ = o.object(problem(e)) // the exit code says it as well
	}
	var b strings.Builder
	st := o.errStyle
	b.WriteString(st.red(st.glyph(bad)) + " " + st.bold(headline(e.Message)) + "\n")
	indent := "\n          "
	if e.Reason != "" {
		b.WriteString("  Why     " + strings.ReplaceAll(plainText(e.Reason), "\n", indent) + "\n")
	}
	var w *withLog
	if errors.As(err, &w) && len(w.log) > 0 {
		for _, line := range w.log {
			b.WriteString("            " + st.dim(plainText(line)) + "\n")
		}
	}
	if e.Hint != "" {
		b.WriteString("  Do      " + strings.ReplaceAll(plainText(e.Hint), "\n", indent) + "\n")
	}
	_, _ = fmt.Fprint(o.err, st.text(b.String())) // nobody is left to tell
}

const (
	longestWord = 200  // bytes that a word of an error may have: paths and URLs are shorter
	longestPart = 1500 // bytes that each part of an error may have
)

// shortened is e without what nobody reads: somebody's 10 kB come back as a few
// words of it.
func shortened(e *cluster.Error) *cluster.Error {
	s := *e
	s.Message, s.Reason, s.Hint = shortText(e.Message), shortText(e.Reason), shortText(e.Hint)
	return &s
}

func shortText(s string) string {
	if len(s) <= longestWord {
		return s
	}
	cut := func(s string, limit int) string {
		if len(s) <= limit {
			return s
		}
		return strings.ToValidUTF8(s[:limit*2/3], "") + "…" + strings.ToValidUTF8(s[len(s)-limit/3:], "")
	}
	return cut(longWordRE.ReplaceAllStringFunc(s, func(w string) string { return cut(w, longestWord) }), longestPart)
}

var longWordRE = regexp.MustCompile(`\S{200,}`)

// headline begins with a capital letter, as sentences on their own do; names
// that begin with a small one stay.
func headline(s string) string {
	s = plainText(s)
	for _, word := range []string{"no ", "app ", "the ", "this ", "there ", "cannot ", "flag ", "host ", "release ", "only ", "a ", "value ", "config ",
		"you ", "nothing ", "more ", "two ", "deployment ", "image ", "interrupted", "line ", "scope ", "process "} {
		if strings.HasPrefix(s, word) {
			return strings.ToUpper(s[:1]) + s[1:]
		}
	}
	return s
}

// asError is err as people see it.
func asError(err error) *cluster.Error {
	var e *cluster.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return cluster.Errorf(cluster.KindUnavailable, "interrupted", "interrupted")
	}
	return cluster.Errorf(cluster.KindInternal, "failed", "%s", err)
}

// problem is e as the API would have answered it.
func problem(e *cluster.Error) *api.Problem {
	p := &api.Problem{Type: "about:blank", Status: api.StatusOf(e.Kind), Kind: e.Kind.String(), Code: e.Code,
		Message: e.Message, Reason: e.Reason, Hint: e.Hint}
	p.Title = http.StatusText(p.Status)
	if e.Err != nil {
		if id, ok := strings.CutPrefix(e.Err.Error(), "request "); ok {
			p.RequestID = id
		}
	}
	return p
}

func plainText(s string) string { return api.PlainText(s) }
