package store

import (
	"fmt"
	"strings"
	"testing"

	"paas/cluster"
)

// testHash is a full hash of git's.
func testHash(n int) string { return fmt.Sprintf("%040x", n) }

const mainRef = "refs/heads/main"

func move(from, to string) cluster.RefMove {
	return cluster.RefMove{Name: mainRef, Old: from, New: to}
}

func TestRefsMoveFromWhereTheyAre(t *testing.T) {
	r := withApp(t)
	born := r.app("blog").CreatedAt
	refs := func(moves ...cluster.RefMove) MoveRefs {
		return MoveRefs{By: by(10), App: "blog", Born: born, Moves: moves}
	}
	tag := cluster.RefMove{Name: "refs/tags/v1", New: testHash(7)}
	r.must(refs(move("", testHash(1)), tag))
	r.must(refs(move("", testHash(1)))) // the first answer was lost
	r.must(refs(move(testHash(1), testHash(2))))
	for name, c := range map[string]struct {
		cmd  MoveRefs
		kind cluster.Kind
		code string
	}{
		"an older one":      {refs(move(testHash(1), testHash(3))), cluster.KindConflict, "branch_moved"},
		"one of two":        {refs(cluster.RefMove{Name: "refs/heads/x", New: testHash(1)}, move("", testHash(3))), cluster.KindConflict, "branch_moved"},
		"another app":       {MoveRefs{By: by(11), App: "blog", Born: by(9).At, Moves: []cluster.RefMove{tag}}, cluster.KindConflict, "app_anew"},
		"no app":            {MoveRefs{By: by(11), App: "none", Born: born}, cluster.KindNotFound, "app"},
		"a bad hash":        {refs(move(testHash(2), "HEAD")), cluster.KindInvalid, "ref"},
		"a name with a gap": {refs(cluster.RefMove{Name: "refs/heads/a b", New: testHash(1)}), cluster.KindInvalid, "ref"},
		"no ref":            {refs(cluster.RefMove{Name: "HEAD", New: testHash(1)}), cluster.KindInvalid, "ref"},
	} {
		t.Run(name, func(*testing.T) { r.refuse(c.cmd, c.kind, c.code) })
	}
	got := r.state.Repository("blog")
	if got.Hash(mainRef) != testHash(2) || got.Hash("refs/tags/v1") != testHash(7) || len(got.Refs) != 2 {
		t.Errorf("refs: %+v", got.Refs)
	}
	r.must(refs(cluster.RefMove{Name: "refs/tags/v1", Old: testHash(7)}, move(testHash(2), testHash(1)))) // forced back, and deleted
	if got := r.state.Repository("blog"); len(got.Refs) != 1 || got.Hash(mainRef) != testHash(1) {
		t.Errorf("refs: %+v", got.Refs)
	}
}

func TestRefsAreBounded(t *testing.T) {
	r := withApp(t)
	c := MoveRefs{By: by(10), App: "blog", Born: r.app("blog").CreatedAt}
	for i := range cluster.MaxRefs + 1 {
		c.Moves = append(c.Moves, cluster.RefMove{Name: fmt.Sprintf("refs/tags/%d", i), New: testHash(1)})
	}
	r.refuse(c, cluster.KindInvalid, "refs")
	c.Moves = c.Moves[1:]
	r.must(c)
	long := cluster.RefMove{Name: "refs/heads/" + strings.Repeat("x", cluster.MaxRefName), New: testHash(1)}
	if cluster.KindOf(long.Validate()) != cluster.KindInvalid {
		t.Error("a name of any length is kept")
	}
}

// TestBranchMovesWithItsRelease: at the same index, and with it only.
func TestBranchMovesWithItsRelease(t *testing.T) {
	r := withApp(t)
	born := r.app("blog").CreatedAt
	pushed := func(n int, m cluster.RefMove) CreateRelease {
		c := release(n)
		c.Push = &m
		return c
	}
	end := func(id cluster.DeploymentID, s cluster.DeploymentState) ApplyPlan {
		return ApplyPlan{By: by(30), Plan: cluster.Plan{Index: r.state.Index(), Deployments: []cluster.DeploymentUpdate{{ID: id, State: s}}}}
	}
	at := func() string { return r.state.Repository("blog").Hash(mainRef) }
	one := r.must(pushed(10, move("", testHash(1))))
	if at() != "" {
		t.Error("the branch moved before its release served")
	}
	r.must(end(one.Deployment, cluster.DeploymentSucceeded))
	if at() != testHash(1) {
		t.Errorf("the branch is at %q", at())
	}
	two := r.must(pushed(40, move(testHash(1), testHash(2))))
	r.must(end(two.Deployment, cluster.DeploymentFailed))
	if at() != testHash(1) {
		t.Errorf("a release that failed moved the branch to %q", at())
	}
	r.refuse(pushed(50, move("", testHash(3))), cluster.KindConflict, "branch_moved")
	three := r.must(pushed(60, move(testHash(1), testHash(3))))
	r.must(MoveRefs{By: by(61), App: "blog", Born: born, Moves: []cluster.RefMove{move(testHash(1), testHash(9))}})
	r.must(end(three.Deployment, cluster.DeploymentSucceeded))
	if at() != testHash(9) {
		t.Errorf("a release took back what was pushed after it: %q", at())
	}
}

func TestReleaseCommandBeginsOnce(t *testing.T) {
	r := withApp(t)
	c := release(10)
	c.Processes = processes("web", "release")
	x := r.must(c).Deployment
	r.must(BeginCommand{By: by(11), Deployment: x})
	r.refuse(BeginCommand{By: by(12), Deployment: x}, cluster.KindConflict, CodeCommandBegun)
	r.refuse(BeginCommand{By: by(12), Deployment: "d-99"}, cluster.KindNotFound, "deployment")
	r.must(ApplyPlan{By: by(13), Plan: cluster.Plan{Index: r.state.Index(), Deployments: []cluster.DeploymentUpdate{{ID: x, State: cluster.DeploymentRolling}}}})
	r.refuse(BeginCommand{By: by(14), Deployment: x}, cluster.KindConflict, "deployment_state")
}

// TestNewAppInheritsNoRefs: an app of the same name begins with none.
func TestNewAppInheritsNoRefs(t *testing.T) {
	r := withApp(t)
	r.must(MoveRefs{By: by(2), App: "blog", Born: r.app("blog").CreatedAt, Moves: []cluster.RefMove{move("", testHash(1))}})
	r.must(DestroyApp{By: by(3), Name: "blog"})
	r.must(ApplyPlan{By: by(4), Plan: cluster.Plan{Index: r.state.Index(), RemoveApps: []cluster.AppName{"blog"}}})
	if r.state.Repository("blog") != nil {
		t.Error("the refs of a destroyed app are kept")
	}
	r.must(CreateApp{By: by(5), Name: "blog"})
	if got := r.state.Repository("blog"); got == nil || len(got.Refs) != 0 {
		t.Errorf("a new app has %+v", got)
	}
}
