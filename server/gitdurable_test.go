package server

import (
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestNothingIsSaidThatIsNotSettled: what may be an acknowledgement comes after what
// makes it true, or not at all.
func TestNothingIsSaidThatIsNotSettled(t *testing.T) {
	var out httptest.ResponseRecorder
	left, hungUp := 2, 0
	f := answerTo(&out, func() { hungUp++ }, func() error {
		if left--; left < 0 {
			return errors.New("the disk is gone")
		}
		return nil
	})
	out.Body = &bytes.Buffer{}
	for _, piece := range []string{"a", "b", "c", "d"} {
		if n, err := f.Write([]byte(piece)); n != 1 || err != nil {
			t.Errorf("%s: %d %v; the child must go on", piece, n, err)
		}
	}
	if got := out.Body.String(); got != "ab" || hungUp != 1 {
		t.Errorf("said %q and hung up %d times, want ab and 1", got, hungUp)
	}
}

// TestPushesSettleWhereTheirRefsAre: folders of refs that are not there, because git
// packed or removed the refs, are nobody's fault.
func TestPushesSettleWhereTheirRefsAre(t *testing.T) {
	repo := t.TempDir()
	p := &push{repo: filepath.Join(repo, "absent")}
	if err := p.settle(); err != nil {
		t.Errorf("before anything was granted: %v", err)
	}
	p = &push{repo: repo}
	if err := os.MkdirAll(filepath.Join(repo, "refs", "heads", "feature"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.accept([]refUpdate{{Name: "refs/heads/feature/x"}, {Name: "refs/heads/gone/with/its/folder"}, {Name: "refs/tags/v1"}})
	if err := p.settle(); err != nil {
		t.Error(err)
	}
}

// TestEmptyHeadIsMended: git sees no repository where HEAD is empty or gone.
func TestEmptyHeadIsMended(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	c := newClone(h, "blog")
	head := filepath.Join(h.dir, "git", "blog.git", "HEAD")
	for i, harm := range []func() error{
		func() error { return nil },
		func() error { return os.Truncate(head, 0) },
		func() error { return os.Remove(head) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		c.commit(procfile(fmt.Sprintf("web: ok # %d\n", i)))
		contains(t, c.must("push", "paas", "main"), fmt.Sprintf("v%d is live", i+1))
	}
}
