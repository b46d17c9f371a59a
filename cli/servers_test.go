package cli

import (
	"slices"
	"strings"
	"testing"
)

// TestContextLeavesAServerThatLeft: one that is no member any more is replaced by who
// answered, or by another one if it was itself that passed that on; git remotes that still lead to it are known.
func TestContextLeavesAServerThatLeft(t *testing.T) {
	const old, next, third = "192.0.2.1:7443", "192.0.2.2:7443", "192.0.2.3:7443"
	for name, c := range map[string]struct {
		server  string
		known   []string
		servers []string
		from    string
		want    string
	}{
		"it left, and another one answered":    {"https://" + old, []string{old, next}, []string{next, third}, next, "https://" + next},
		"it left, and answered":                {"https://" + old, []string{old, next}, []string{next, third}, old, "https://" + next},
		"it is away for now":                   {"https://" + old, []string{old, next}, []string{old, next}, next, "https://" + old},
		"it never was one: a gateway's":        {"https://" + old, []string{next, third}, []string{next, third}, next, "https://" + old},
		"it never was one: a host for its own": {"https://127.0.0.1:7443", []string{next, third}, []string{next}, next, "https://127.0.0.1:7443"},
		"a name":                               {"https://paas.example.com:7443", []string{old, next}, []string{next, third}, next, "https://paas.example.com:7443"},
	} {
		files := settings{t.TempDir()}
		if err := files.put(&target{name: "prod", server: c.server, token: "paas_x", ca: "PEM"}, makeCurrent); err != nil {
			t.Fatal(err)
		}
		x, err := files.lookup("")
		if err != nil {
			t.Fatal(err)
		}
		x.learned(c.known, "")
		x.learned(c.servers, c.from)
		got, err := files.lookup("")
		if err != nil || got.server != c.want || !slices.Equal(got.others, c.servers) {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		remote := c.server + "/git/blog.git"
		if app := got.remoteApp(remote); app != "blog" {
			t.Errorf("%s: its remote is %q", name, app)
		}
		if away := got.leadsAway(remote); away != (c.want != c.server) {
			t.Errorf("%s: its remote leads away: %t", name, away)
		}
	}
}

// TestFormerServersAreBounded: a cluster whose hosts come and go for years leaves no
// endless list.
func TestFormerServersAreBounded(t *testing.T) {
	x := &target{server: "https://192.0.2.1:7443"}
	for i := range 40 {
		at := []string{"192.0.2.1:7443", "192.0.2.2:7443"}[(i+1)%2]
		x.others = []string{strings.TrimPrefix(x.server, "https://")}
		x.moved([]string{at}, at)
	}
	if len(x.former) != 2 {
		t.Errorf("%d former servers of two: %v", len(x.former), x.former)
	}
}
