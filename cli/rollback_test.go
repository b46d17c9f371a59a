package cli

import (
	"strings"
	"testing"

	"paas/cluster"
)

// TestRollbackAsksAboutARelease: the question names what will be, and a version
// that there is not is refused before it is asked.
func TestRollbackAsksAboutARelease(t *testing.T) {
	srv, err := newFake()
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	c, err := (&target{server: srv.URL, token: fakeToken}).client()
	if err != nil {
		t.Fatal(err)
	}
	in := &invocation{program: &program{}, client: c, app: "blog"}
	for to, want := range map[cluster.ReleaseVersion]cluster.ReleaseVersion{0: 1, 2: 2} {
		if rel, err := in.rollbackTarget(t.Context(), to); err != nil || rel.Version != want {
			t.Errorf("rollback to %s is asked as %v, %v", to, rel, err)
		}
	}
	if _, err := in.rollbackTarget(t.Context(), 9); cluster.KindOf(err) != cluster.KindNotFound {
		t.Errorf("a version that there is not: %v", err)
	}
}

// TestRollbackToNothingNeedsNoYes: a version that there is not is what is wrong first.
func TestRollbackToNothingNeedsNoYes(t *testing.T) {
	b := newBench(t)
	if code, said := b.run([]string{"rollback", "v9", "-a", "blog"}); code != exitNotFound || strings.Contains(said, "--yes") {
		t.Errorf("v9: exit %d: %s", code, said)
	}
	if code, said := b.run([]string{"rollback", "-a", "blog"}); code != exitUsage || !strings.Contains(said, "--yes") {
		t.Errorf("none named: exit %d: %s", code, said)
	}
}
