package server

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"paas/cluster"
)

func allocationID(i int) cluster.AllocationID { return cluster.AllocationID(fmt.Sprintf("a-%d", i)) }

func TestJudge(t *testing.T) {
	zero, a, b := strings.Repeat("0", 40), strings.Repeat("a", 40), strings.Repeat("b", 40)
	up := func(name string) refUpdate { return refUpdate{Old: a, New: b, Name: name} }
	del := func(name string) refUpdate { return refUpdate{Old: a, New: zero, Name: name} }
	usual, own := &cluster.App{Name: "blog"}, &cluster.App{Name: "blog", DeployBranch: "production"}
	for _, c := range []struct {
		what    string
		app     *cluster.App
		updates []refUpdate
		deploy  string
		refused string
		notes   int
	}{
		{"main", usual, []refUpdate{up("refs/heads/main")}, "refs/heads/main", "", 0},
		{"master", usual, []refUpdate{up("refs/heads/master")}, "refs/heads/master", "", 0},
		{"another branch", usual, []refUpdate{up("refs/heads/feature/x")}, "", "", 1},
		{"a tag called main", usual, []refUpdate{up("refs/tags/main")}, "", "", 1},
		{"a nested main", usual, []refUpdate{up("refs/heads/x/main")}, "", "", 1},
		{"both", usual, []refUpdate{up("refs/heads/master"), up("refs/heads/main")}, "refs/heads/master", "", 1},
		{"its own branch", own, []refUpdate{up("refs/heads/main"), up("refs/heads/production")}, "refs/heads/production", "", 1},
		{"delete of main", usual, []refUpdate{up("refs/heads/x"), del("refs/heads/main")}, "", "deploy_branch", 0},
		{"delete of main that is not deployed", own, []refUpdate{del("refs/heads/main")}, "", "", 0},
		{"delete of another", usual, []refUpdate{del("refs/heads/x")}, "", "", 0},
		{"an option for a hash", usual, []refUpdate{{Old: a, New: "--output=/etc/passwd", Name: "refs/heads/main"}}, "", "push", 0},
	} {
		v := judge(c.app, c.updates)
		got, refused := "", ""
		if v.deploy != nil {
			got = v.deploy.Name
		}
		if v.refusal != nil {
			refused = v.refusal.Code
		}
		if got != c.deploy || refused != c.refused || (refused == "" && len(v.notes) != c.notes) {
			t.Errorf("%s: deploy %q, refused %q, notes %q", c.what, got, refused, v.notes)
		}
	}
}

func TestQuarantineStaysInTheRepository(t *testing.T) {
	good := hookRequest{Quarantine: "/data/git/blog.git/objects/tmp_objdir-incoming-x", Objects: "objects/tmp_objdir-incoming-x",
		Alternates: "/data/git/blog.git/objects"}
	if env, err := quarantine("/data/git/blog.git", good); err != nil || len(env) != 3 {
		t.Errorf("%v %v", env, err)
	}
	for _, bad := range []hookRequest{{Objects: "/etc"}, {Objects: "../other.git/objects"}, {Alternates: "/data/git/blog.git/objects:/data/git/shop.git/objects"}} {
		if env, err := quarantine("/data/git/blog.git", bad); err == nil {
			t.Errorf("%+v passes: %v", bad, env)
		}
	}
}

func FuzzReadUpdates(f *testing.F) {
	f.Add([]byte("a b refs/heads/main\n"))
	f.Add([]byte("a b\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		updates, err := readUpdates(bytes.NewReader(in))
		if err == nil {
			judge(&cluster.App{Name: "blog"}, updates) // must not panic
		}
	})
}
