package cluster

import "fmt"

// Snapshot is a State as plain data in canonical order: what Raft snapshots,
// backups and exports hold. Equal states give equal Snapshots.
type Snapshot struct {
	Index       uint64       `json:"index"`
	Sequence    uint64       `json:"sequence"`
	Settings    Settings     `json:"settings"`
	Apps        []App        `json:"apps"`
	Releases    []Release    `json:"releases"`
	Builds      []Build      `json:"builds"`
	Deployments []Deployment `json:"deployments"`
	Allocations []Allocation `json:"allocations"`
	Nodes       []Node       `json:"nodes"`
	Domains     []Domain     `json:"domains"`
	Volumes     []Volume     `json:"volumes"`
	Tokens      []Token      `json:"tokens"`
	Events      []Event      `json:"events"`
	Files       []File       `json:"files"`
	Locks       []Lock       `json:"locks"`
	// Snapshots of versions before these tables have none of them, which is empty.
	Joins   []Join    `json:"joins"`
	Removed []Removed `json:"removed"`

	Repositories []Repository `json:"repositories"`
}

// Snapshot returns s as plain data.
func (s *State) Snapshot() *Snapshot {
	return &Snapshot{
		Index: s.index, Sequence: s.sequence, Settings: s.settings,
		Apps: values(s.apps), Releases: values(s.releases), Builds: values(s.builds),
		Deployments: values(s.deployments), Allocations: values(s.allocations), Nodes: values(s.nodes),
		Domains: values(s.domains), Volumes: values(s.volumes), Tokens: values(s.tokens), Events: values(s.events),
		Files: values(s.files), Locks: values(s.locks), Joins: values(s.joins), Removed: values(s.removed),
		Repositories: values(s.repositories),
	}
}

// State rebuilds the State that p was taken from.
func (p *Snapshot) State() *State {
	d := &Draft{}
	d.s.index, d.s.sequence, d.s.settings = p.Index, p.Sequence, p.Settings
	for _, a := range p.Apps {
		d.s.apps = d.s.apps.set(a.Name, &a)
	}
	for _, r := range p.Releases {
		d.PutRelease(r)
	}
	for _, b := range p.Builds {
		d.PutBuild(b)
	}
	for _, x := range p.Deployments {
		i := x.Index
		d.s.index = i
		d.PutDeployment(x)
	}
	d.s.index = p.Index
	for _, a := range p.Allocations {
		d.PutAllocation(a)
	}
	for _, n := range p.Nodes {
		d.PutNode(n)
	}
	for _, x := range p.Domains {
		d.PutDomain(x)
	}
	for _, v := range p.Volumes {
		d.PutVolume(v)
	}
	for _, t := range p.Tokens {
		d.PutToken(t)
	}
	last, n := uint64(0), 0
	for _, e := range p.Events {
		if e.Index != last {
			last, n = e.Index, 0
		}
		n++
		d.s.events = d.s.events.set(fmt.Sprintf("%020d/%06d", e.Index, n), &e)
	}
	for _, f := range p.Files {
		d.PutFile(f)
	}
	for _, l := range p.Locks {
		d.PutLock(l)
	}
	for _, j := range p.Joins {
		d.PutJoin(j)
	}
	for _, r := range p.Removed {
		d.PutRemoved(r)
	}
	for _, r := range p.Repositories {
		d.s.repositories = d.s.repositories.set(r.App, &r)
	}
	return d.State()
}

func values[K ~string, V any](t table[K, V]) []V {
	out := make([]V, 0, t.len())
	for v := range t.all() {
		out = append(out, *v)
	}
	return out
}
