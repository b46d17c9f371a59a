package cluster

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// grow makes a state by random puts and removals at rising indices.
func grow(t *rapid.T) *State {
	s := &State{}
	app := rapid.SampledFrom([]AppName{"blog", "blog-2", "shop"})
	for i := range rapid.IntRange(0, 60).Draw(t, "changes") {
		d := s.Draft(uint64(i + 1))
		name := app.Draw(t, "app")
		n := d.NextSequence()
		switch rapid.IntRange(0, 15).Draw(t, "change") {
		case 0:
			d.PutApp(App{Name: name, CreatedAt: epoch, Config: map[string]Secret{"A": {Key: "k", Box: []byte("x")}}})
		case 1:
			d.PutRelease(Release{App: name, Version: ReleaseVersion(rapid.IntRange(1, 200).Draw(t, "version"))})
		case 2:
			d.PutBuild(Build{ID: BuildID(fmt.Sprintf("b-%d", n)), App: name})
		case 3:
			d.PutDeployment(Deployment{ID: DeploymentID(fmt.Sprintf("d-%d", n)), App: name, State: DeploymentState(rapid.IntRange(1, 5).Draw(t, "state"))})
		case 4, 5:
			d.PutAllocation(Allocation{ID: AllocationID(fmt.Sprintf("a-%d", n)), App: name, Type: ProcessWeb, Slot: 1, Node: "n", Desired: DesiredRun,
				Observed: Observation{State: AllocationHealthy, Address: "10.0.0.1:80"}})
		case 6:
			d.PutNode(Node{ID: "n", Name: "host", Zone: "a"})
		case 7:
			d.PutDomain(Domain{Host: Hostname(string(name) + ".org"), App: name})
		case 8:
			d.PutToken(Token{ID: TokenID(name), Hash: []byte("hash")})
		case 9:
			for j := range rapid.IntRange(1, 12).Draw(t, "events") {
				d.Event(epoch, Event{Action: "a.b", Text: fmt.Sprint(j)})
			}
		case 10:
			d.PutFile(File{Key: string(name) + "/f"})
			d.PutLock(Lock{Name: string(name)})
		case 15:
			d.PutJoin(Join{ID: TokenID(name), Hash: []byte("hash"), Key: []byte("key"), Node: "n"})
			d.PutRemoved(Removed{Node: NodeID(name), Name: "host", At: epoch, Until: epoch})
			d.PutRepository(Repository{App: name}.Moved(RefMove{Name: "refs/heads/main", New: "01"}))
		case 11:
			d.RemoveApp(name)
		case 12:
			for a := range s.AllocationsOf(name) {
				d.RemoveAllocation(a)
				break
			}
		case 13:
			d.PutVolume(Volume{ID: VolumeID(fmt.Sprintf("vol-%d", n)), App: name, Name: "data", Node: "n", Destroyed: rapid.Bool().Draw(t, "destroyed")})
		case 14:
			for v := range s.VolumesOf(name) {
				d.RemoveVolume(v)
				break
			}
		}
		s = d.State()
	}
	return s
}

func TestSnapshotIsIdentity(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := grow(rt)
		snapshot := s.Snapshot()
		back := snapshot.State()
		if again := back.Snapshot(); !reflect.DeepEqual(again, snapshot) {
			rt.Fatalf("a snapshot of the restored state differs:\n%+v\n%+v", again, snapshot)
		}
		if !reflect.DeepEqual(back.Routes(), s.Routes()) {
			rt.Fatal("the restored state routes differently")
		}
		for a := range s.Allocations() {
			if b, err := back.Allocation(a.ID); err != nil || b.ID != a.ID {
				rt.Fatalf("allocation %s is not found by its ID: %v", a.ID, err)
			}
		}
		for b := range s.Builds("blog") {
			if _, err := back.Build(b.ID); err != nil {
				rt.Fatal(err)
			}
		}
		for x := range s.Deployments("blog") {
			if got, err := back.Deployment(x.ID); err != nil || got.Index != x.Index {
				rt.Fatalf("deployment %s: %+v, %v", x.ID, got, err)
			}
		}
		// Both go on the same way.
		one, two := s.Draft(1000), back.Draft(1000)
		for _, d := range []*Draft{one, two} {
			d.Event(epoch, Event{Action: "x.y"})
			d.PutBuild(Build{ID: BuildID(fmt.Sprintf("b-%d", d.NextSequence())), App: "blog"})
		}
		if !reflect.DeepEqual(one.State().Snapshot(), two.State().Snapshot()) {
			rt.Fatal("the restored state goes on differently")
		}
	})
}

func TestStatesNeverChange(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := grow(rt)
		before, err := json.Marshal(s.Snapshot())
		if err != nil {
			rt.Fatal(err)
		}
		d := s.Draft(s.Index() + 1)
		for _, name := range []AppName{"blog", "blog-2", "shop"} {
			d.PutApp(App{Name: name})
			d.RemoveApp(name)
		}
		d.PutNode(Node{ID: "n", Zone: "other"})
		d.Event(epoch, Event{})
		mid := d.State()
		d.PutToken(Token{ID: "late"})
		if _, err := mid.Token("late"); err == nil {
			rt.Fatal("a state changed when its draft went on")
		}
		after, err := json.Marshal(s.Snapshot())
		if err != nil || string(after) != string(before) {
			rt.Fatalf("a state changed under its draft: %v", err)
		}
	})
}

func TestRemoveAppTakesEverythingOfItAndNothingElse(t *testing.T) {
	d := (&State{}).Draft(1)
	for _, name := range []AppName{"blog", "blog-2"} { // one name begins with the other
		d.PutApp(App{Name: name})
		d.PutRelease(Release{App: name, Version: 1})
		d.PutBuild(Build{ID: BuildID("b-" + fmt.Sprint(d.NextSequence())), App: name})
		d.PutDeployment(Deployment{ID: DeploymentID("d-" + fmt.Sprint(d.NextSequence())), App: name})
		d.PutAllocation(Allocation{ID: AllocationID("a-" + fmt.Sprint(d.NextSequence())), App: name})
		d.PutDomain(Domain{Host: Hostname(name + ".org"), App: name})
	}
	d.RemoveApp("blog")
	p := d.State().Snapshot()
	for what, n := range map[string]int{
		"apps": len(p.Apps), "releases": len(p.Releases), "builds": len(p.Builds), "deployments": len(p.Deployments),
		"allocations": len(p.Allocations), "domains": len(p.Domains),
	} {
		if n != 1 {
			t.Errorf("%d %s left, want those of blog-2", n, what)
		}
	}
	if _, err := d.State().Build("b-1"); err == nil {
		t.Error("a removed build is found by its ID")
	}
}

func TestOrderIsByNumberNotByText(t *testing.T) {
	d := (&State{}).Draft(1)
	for _, n := range []int{100, 9, 10, 2} {
		d.PutRelease(Release{App: "blog", Version: ReleaseVersion(n)})
		d.PutAllocation(Allocation{ID: AllocationID(fmt.Sprintf("a-%d", n)), App: "blog"})
	}
	var versions []string
	for r := range d.State().Releases("blog") {
		versions = append(versions, r.Version.String())
	}
	var ids []string
	for a := range d.State().AllocationsOf("blog") {
		ids = append(ids, string(a.ID))
	}
	if !slices.Equal(versions, []string{"v2", "v9", "v10", "v100"}) || !slices.Equal(ids, []string{"a-2", "a-9", "a-10", "a-100"}) {
		t.Errorf("%v and %v", versions, ids)
	}
}

func TestEventsAreBoundedAndResumable(t *testing.T) {
	s := &State{}
	for i := range 3 {
		d := s.Draft(uint64(i + 1))
		for j := range KeptEvents / 2 {
			d.Event(epoch, Event{Text: fmt.Sprint(j)})
		}
		s = d.State()
	}
	all := slices.Collect(s.EventsSince(0))
	if len(all) != KeptEvents || all[0].Index != 2 || all[0].Text != "0" || all[len(all)-1].Text != fmt.Sprint(KeptEvents/2-1) {
		t.Errorf("%d events from %+v", len(all), all[0])
	}
	if n := len(slices.Collect(s.EventsSince(2))); n != KeptEvents/2 {
		t.Errorf("%d events after index 2, want %d", n, KeptEvents/2)
	}
}

func TestSecretsNeverShow(t *testing.T) {
	secret := Secret{Key: "k", Box: []byte("the sealed bytes")}
	app := App{Name: "blog", Config: map[string]Secret{"A": secret}}
	out, err := json.Marshal(app)
	if err != nil || strings.Contains(string(out), "sealed bytes") || !strings.Contains(string(out), "[sealed ") {
		t.Errorf("%s, %v", out, err)
	}
	var back App
	if err := json.Unmarshal(out, &back); err != nil || len(back.Config["A"].Box) != 0 {
		t.Errorf("%+v, %v", back, err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(format, Redacted("hunter2")); strings.Contains(text, "hunter2") {
			t.Errorf("%s shows a redacted value: %s", format, text)
		}
	}
	tok, err := json.Marshal(Token{ID: "x", Hash: []byte("hash")})
	if err != nil || strings.Contains(string(tok), "aGFzaA") {
		t.Errorf("%s, %v", tok, err)
	}
}

func TestEnumsRoundTripAsText(t *testing.T) {
	check := func(what string, names []string, text func(i int) string, parse func(i int, s string) error) {
		for i, n := range names {
			if text(i) != n {
				t.Errorf("%s %d prints as %q, want %q", what, i, text(i), n)
			}
			if err := parse(i, n); err != nil {
				t.Errorf("%s %q: %v", what, n, err)
			}
		}
		if err := parse(0, "no such value"); KindOf(err) != KindInvalid {
			t.Errorf("%s: an unknown text was parsed: %v", what, err)
		}
		if s := text(200); !strings.HasPrefix(s, "unknown(") {
			t.Errorf("%s 200 prints as %q", what, s)
		}
	}
	check("release state", releaseStateNames, func(i int) string { return ReleaseState(i).String() }, parseAs[ReleaseState])
	check("build state", buildStateNames, func(i int) string { return BuildState(i).String() }, parseAs[BuildState])
	check("deployment state", deploymentStateNames, func(i int) string { return DeploymentState(i).String() }, parseAs[DeploymentState])
	check("desired state", desiredNames, func(i int) string { return DesiredState(i).String() }, parseAs[DesiredState])
	check("allocation state", allocationStateNames, func(i int) string { return AllocationState(i).String() }, parseAs[AllocationState])
	check("node state", nodeStateNames, func(i int) string { return NodeState(i).String() }, parseAs[NodeState])
	check("check kind", checkKindNames, func(i int) string { return CheckKind(i).String() }, parseAs[CheckKind])
	check("scope", scopeNames, func(i int) string { return Scope(i).String() }, parseAs[Scope])
	check("kind", kindNames, func(i int) string { return Kind(i).String() }, parseAs[Kind])
}

// parseAs checks that s is read as the i-th value of E.
func parseAs[E ~uint8, P interface {
	*E
	UnmarshalText([]byte) error
}](i int, s string) error {
	var v E
	if err := P(&v).UnmarshalText([]byte(s)); err != nil {
		return err
	}
	if int(v) != i {
		return fmt.Errorf("%q was read as %d, want %d", s, v, i)
	}
	return nil
}
