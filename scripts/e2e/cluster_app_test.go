//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// replicaLine is an allocation as `paas ps --json` shows it.
type replicaLine struct {
	ID       string `json:"id"`
	Instance string `json:"instance"`
	Node     string `json:"node_name"`
	Zone     string `json:"zone"`
	Release  int    `json:"release"`
	Desired  string `json:"desired"`
	Observed struct {
		State       string `json:"state"`
		ContainerID string `json:"container_id"`
	} `json:"observed"`
}

// deployProbe creates an app, pushes the probe and scales it; it returns the work
// tree.
func (f *fleet) deployProbe(app string, replicas int) string {
	f.t.Helper()
	t := f.t
	f.t = f.root // the work tree outlives the step that makes it
	dir := f.repo("probe")
	f.t = t
	f.must(dir, "apps", "create", app)
	f.push(dir)
	f.must(dir, "scale", fmt.Sprintf("web=%d", replicas))
	f.healthy(app, replicas, 60*time.Second)
	return dir
}

// everywhere brings an app's image to every host: it is scaled to two replicas for
// each, and back to n.
func (f *fleet) everywhere(app string, n int) {
	f.t.Helper()
	all := 2 * len(f.members)
	f.must(f.home, "scale", fmt.Sprintf("web=%d", all), "-a", app)
	f.healthy(app, all, 2*time.Minute)
	for _, m := range f.members {
		if list, err := m.containersOf(app); err != nil || len(list) == 0 {
			f.t.Errorf("%s has none of %d replicas (%v)", m.name, all, err)
		}
	}
	f.must(f.home, "scale", fmt.Sprintf("web=%d", n), "-a", app)
	f.healthy(app, n, time.Minute)
}

// pushTo pushes main to a server that the work tree has no remote for.
func (f *fleet) pushTo(m *member, dir, app string) (string, int) {
	f.t.Helper()
	return f.git(dir, "-c", "http.sslCAInfo="+f.authority, "push", "https://paas:"+f.token+"@"+m.addr+":7443/git/"+app+".git", "main")
}

// replicas is what ps shows of an app.
func (f *fleet) replicas(app string) (list []replicaLine, err error) {
	for _, m := range f.servers() {
		if !m.running() {
			continue
		}
		var ps struct {
			Allocations []replicaLine `json:"allocations"`
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err = f.api(m).call(ctx, http.MethodGet, "/v1/apps/"+app+"/processes", nil, &ps)
		cancel()
		if err == nil {
			return ps.Allocations, nil
		}
	}
	return nil, fmt.Errorf("no server answers: %w", err)
}

// healthy waits until just n replicas are wanted and healthy.
func (f *fleet) healthy(app string, n int, within time.Duration) []replicaLine {
	f.t.Helper()
	var got []replicaLine
	f.await(fmt.Sprintf("%d replicas of %s are healthy", n, app), within, func() string {
		list, err := f.replicas(app)
		if err != nil {
			return err.Error()
		}
		got = list
		if well := wellOf(list); len(well) != n || len(list) != n {
			return fmt.Sprintf("%d of %d: %s", len(well), len(list), lines(list))
		}
		return ""
	})
	return got
}

func wellOf(list []replicaLine) (well []replicaLine) {
	for _, r := range list {
		if r.Desired == "run" && r.Observed.State == "healthy" {
			well = append(well, r)
		}
	}
	return well
}

func lines(list []replicaLine) string {
	var all []string
	for _, r := range list {
		all = append(all, fmt.Sprintf("%s on %s (zone %s) is to %s and %s", r.Instance, r.Node, r.Zone, r.Desired, r.Observed.State))
	}
	return strings.Join(all, "\n")
}

// perZone counts replicas.
func perZone(list []replicaLine) map[string]int {
	n := map[string]int{}
	for _, r := range list {
		n[r.Zone]++
	}
	return n
}

// skew is how much more the fullest of these zones has than the emptiest.
func skew(list []replicaLine, zones ...string) int {
	n := perZone(list)
	for _, z := range zones {
		n[z] += 0
	}
	counts := slices.Sorted(maps.Values(n))
	return counts[len(counts)-1] - counts[0]
}

// answering asks through the routers of all hosts, several times each, and returns
// the containers that answered. One router alone prefers the replicas of its zone.
func (f *fleet) answering(app string, times int) []string {
	var mu sync.Mutex
	var work sync.WaitGroup
	met := map[string]bool{}
	for _, m := range f.members {
		if !m.running() {
			continue
		}
		c := f.through(m).client
		work.Go(func() {
			defer c.CloseIdleConnections()
			for range times {
				id := whoAnswers(c, app)
				mu.Lock()
				met[id] = true
				mu.Unlock()
			}
		})
	}
	work.Wait()
	delete(met, "")
	return slices.Sorted(maps.Keys(met))
}

var hostRE = regexp.MustCompile(`host=(\S+)`)

// whoAnswers is the container that answers a request; "" is none.
func whoAnswers(c *http.Client, app string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+app+".localhost/", nil)
	if err != nil {
		return ""
	}
	res, err := c.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	found := hostRE.FindSubmatch(body)
	if err != nil || found == nil {
		return ""
	}
	return string(found[1])
}

// serving waits until n replicas, none of them in dead, answer.
func (f *fleet) serving(app string, n int, dead []string, within time.Duration) {
	f.t.Helper()
	f.await(fmt.Sprintf("%d replicas of %s answer", n, app), within, func() string {
		met := slices.DeleteFunc(f.answering(app, 2*n), func(c string) bool { return slices.Contains(dead, c) })
		if len(met) < n {
			return fmt.Sprintf("%d do: %v", len(met), met)
		}
		return ""
	})
}

// docker asks a host's engine.
func (m *member) docker(args ...string) (string, error) {
	full := append([]string{"-H", "unix:///run/testbed-" + m.f.bed.id + "/" + m.name + "/run/docker.sock"}, args...)
	out, err := exec.Command("docker", full...).CombinedOutput()
	return string(out), err
}

// containersOf lists an app's running containers on a host, "ID StartedAt", sorted.
func (m *member) containersOf(app string) ([]string, error) {
	ids, err := m.docker("ps", "-q", "--no-trunc", "--filter", "label=paas.app="+app)
	if err != nil || strings.TrimSpace(ids) == "" {
		return nil, err
	}
	out, err := m.docker(append([]string{"inspect", "--format", "{{.Id}} {{.State.StartedAt}}"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	list := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(list)
	return list, nil
}

// allContainers lists an app's running containers on all hosts whose engine runs.
func (f *fleet) allContainers(app string) (list []string) {
	f.t.Helper()
	for _, m := range f.members {
		some, err := m.containersOf(app)
		if err != nil {
			continue
		}
		for _, c := range some {
			list = append(list, m.name+" "+c)
		}
	}
	return list
}

// exactly waits until the hosts run n containers of an app, all told.
func (f *fleet) exactly(app string, n int, within time.Duration) {
	f.t.Helper()
	f.await(fmt.Sprintf("exactly %d containers of %s run", n, app), within, func() string {
		if list := f.allContainers(app); len(list) != n {
			return fmt.Sprintf("%d do:\n%s", len(list), strings.Join(list, "\n"))
		}
		return ""
	})
}
