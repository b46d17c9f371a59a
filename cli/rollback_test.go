package cli

import (
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
