package cluster

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// State is one consistent view of the cluster at one Raft index. The zero State
// is an empty cluster that was not bootstrapped. All methods are safe for
// concurrent use; what they return is shared and must not be changed.
type State struct {
	index    uint64
	sequence uint64 // last number given to a build, deployment or allocation
	settings Settings

	apps        table[AppName, App]
	releases    table[string, Release] // app "/" version, zero-padded
	builds      table[string, Build]   // app "/" sequence
	deployments table[string, Deployment]
	allocations table[string, Allocation]   // app "/" ID
	allocOwner  table[AllocationID, string] // ID → key in allocations
	buildOwner  table[BuildID, string]
	deployOwner table[DeploymentID, string]
	nodes       table[NodeID, Node]
	domains     table[Hostname, Domain]
	volumes     table[string, Volume] // app "/" ID; destroyed ones until their node is rid of them
	tokens      table[TokenID, Token]
	events      table[string, Event] // zero-padded index "/" n
	files       table[string, File]
	locks       table[string, Lock]
	joins       table[TokenID, Join]
	removed     table[NodeID, Removed]

	repositories table[AppName, Repository]
}

// Index is the Raft index of the last command in s.
func (s *State) Index() uint64 { return s.index }

// Bootstrapped reports whether the cluster has its settings.
func (s *State) Bootstrapped() bool { return s.settings.ID != "" }

// Settings returns what the whole cluster shares.
func (s *State) Settings() *Settings { return &s.settings }

// App returns an app, or an Error of KindNotFound that names the nearest ones.
func (s *State) App(name AppName) (*App, error) {
	if a, ok := s.apps.get(name); ok {
		return a, nil
	}
	e := NotFound("app", "no app %s", quote(string(name)))
	var names []string
	for a := range s.apps.all() {
		names = append(names, string(a.Name))
	}
	if near := Nearest(string(name), names); len(near) > 0 {
		e = e.Because("nearest: %s", strings.Join(near, ", "))
	}
	return nil, e.WithHint("list them with: paas apps")
}

// Apps yields all apps by name.
func (s *State) Apps() iter.Seq[*App] { return s.apps.all() }

// Release returns one release of an app, or an Error of KindNotFound.
func (s *State) Release(app AppName, v ReleaseVersion) (*Release, error) {
	if r, ok := s.releases.get(releaseKey(app, v)); ok {
		return r, nil
	}
	return nil, NotFound("release", "app %s has no release %s", app, v).WithHint("list them with: paas releases -a " + string(app))
}

// Releases yields an app's releases, oldest first.
func (s *State) Releases(app AppName) iter.Seq[*Release] { return s.releases.prefix(string(app) + "/") }

// Build returns a build, or an Error of KindNotFound.
func (s *State) Build(id BuildID) (*Build, error) {
	if k, ok := s.buildOwner.get(id); ok {
		if b, ok := s.builds.get(*k); ok {
			return b, nil
		}
	}
	return nil, NotFound("build", "no build %s", quote(string(id))).WithHint("list them with: paas builds")
}

// Builds yields an app's builds, oldest first.
func (s *State) Builds(app AppName) iter.Seq[*Build] { return s.builds.prefix(string(app) + "/") }

// Deployment returns a deployment, or an Error of KindNotFound.
func (s *State) Deployment(id DeploymentID) (*Deployment, error) {
	if k, ok := s.deployOwner.get(id); ok {
		if d, ok := s.deployments.get(*k); ok {
			return d, nil
		}
	}
	return nil, NotFound("deployment", "no deployment %s", quote(string(id)))
}

// Deployments yields an app's deployments, oldest first.
func (s *State) Deployments(app AppName) iter.Seq[*Deployment] {
	return s.deployments.prefix(string(app) + "/")
}

// ActiveDeployment returns the app's deployment that has not ended, or nil.
func (s *State) ActiveDeployment(app AppName) *Deployment {
	var active *Deployment
	for d := range s.Deployments(app) {
		if !d.State.Ended() {
			active = d
		}
	}
	return active
}

// Allocation returns an allocation, or an Error of KindNotFound.
func (s *State) Allocation(id AllocationID) (*Allocation, error) {
	if k, ok := s.allocOwner.get(id); ok {
		if a, ok := s.allocations.get(*k); ok {
			return a, nil
		}
	}
	return nil, NotFound("allocation", "no allocation %s", quote(string(id)))
}

// Allocations yields all allocations, by app, then age.
func (s *State) Allocations() iter.Seq[*Allocation] { return s.allocations.all() }

// AllocationsOf yields an app's allocations, oldest first.
func (s *State) AllocationsOf(app AppName) iter.Seq[*Allocation] {
	return s.allocations.prefix(string(app) + "/")
}

// AllocationsOn returns a node's allocations, by app, then age.
func (s *State) AllocationsOn(node NodeID) []*Allocation {
	var out []*Allocation
	for a := range s.allocations.all() {
		if a.Node == node {
			out = append(out, a)
		}
	}
	return out
}

// Node returns a node, or an Error of KindNotFound.
func (s *State) Node(id NodeID) (*Node, error) {
	if n, ok := s.nodes.get(id); ok {
		return n, nil
	}
	return nil, NotFound("node", "no node %s", quote(string(id))).WithHint("list them with: paas nodes")
}

// Nodes yields all nodes by ID.
func (s *State) Nodes() iter.Seq[*Node] { return s.nodes.all() }

// Domain returns a domain, or an Error of KindNotFound.
func (s *State) Domain(host Hostname) (*Domain, error) {
	if d, ok := s.domains.get(host); ok {
		return d, nil
	}
	return nil, NotFound("domain", "no domain %s", quote(string(host))).WithHint("list them with: paas domains")
}

// Domains yields all domains by host name.
func (s *State) Domains() iter.Seq[*Domain] { return s.domains.all() }

// Volumes yields all volumes by app, then age, destroyed ones that wait included.
func (s *State) Volumes() iter.Seq[*Volume] { return s.volumes.all() }

// VolumesOf yields an app's volumes, oldest first, destroyed ones that wait included.
func (s *State) VolumesOf(app AppName) iter.Seq[*Volume] { return s.volumes.prefix(string(app) + "/") }

// Token returns a token by its public half, or an Error of KindNotFound.
func (s *State) Token(id TokenID) (*Token, error) {
	if t, ok := s.tokens.get(id); ok {
		return t, nil
	}
	return nil, NotFound("token", "no token %s", quote(string(id))).WithHint("list them with: paas token list")
}

// Tokens yields all tokens by ID.
func (s *State) Tokens() iter.Seq[*Token] { return s.tokens.all() }

// EventsSince yields the kept events after index, oldest first.
func (s *State) EventsSince(index uint64) iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		for e := range s.events.all() {
			if e.Index > index && !yield(e) {
				return
			}
		}
	}
}

// File returns an entry of the certificate storage.
func (s *State) File(key string) (*File, bool) { return s.files.get(key) }

// Files yields the entries of the certificate storage whose keys start with prefix.
func (s *State) Files(prefix string) iter.Seq[*File] { return s.files.prefix(prefix) }

// Lock returns a lease of the certificate storage.
func (s *State) Lock(name string) (*Lock, bool) { return s.locks.get(name) }

// Locks yields all leases of the certificate storage.
func (s *State) Locks() iter.Seq[*Lock] { return s.locks.all() }

// Routes computes what routers serve at this state.
func (s *State) Routes() *RouteTable { return s.RoutesTo(s.Upstreams) }

// RoutesTo is Routes for who knows the upstreams of apps already.
func (s *State) RoutesTo(upstreams func(AppName) []Upstream) *RouteTable {
	t := &RouteTable{Index: s.index, Domain: s.settings.Domain}
	add := func(h Hostname, app AppName) {
		a, ok := s.apps.get(app)
		idle := ok && (a.Current == 0 || a.Quantity(ProcessWeb) == 0)
		t.Routes = append(t.Routes, Route{Host: h, App: app, Upstreams: upstreams(app), Internal: h.Private(), Idle: idle})
	}
	for a := range s.apps.all() {
		if !a.Destroying {
			add(s.settings.Host(a.Name), a.Name)
		}
	}
	for d := range s.domains.all() {
		add(d.Host, d.App)
	}
	slices.SortFunc(t.Routes, func(a, b Route) int { return strings.Compare(string(a.Host), string(b.Host)) })
	return t
}

// Upstreams computes the replicas that routers send an app's requests to: a function of
// the app, its allocations and the zones of nodes.
func (s *State) Upstreams(app AppName) []Upstream {
	var ups, doubtful []Upstream
	for a := range s.AllocationsOf(app) {
		switch {
		case a.Routed():
			ups = append(ups, s.upstream(a))
		case a.Doubtful():
			doubtful = append(doubtful, s.upstream(a))
		}
	}
	if a, ok := s.apps.get(app); ok && len(ups) < LeastServing(a.Quantity(ProcessWeb)) {
		ups = append(ups, doubtful...)
	}
	return ups
}

// upstream is a as routers know it.
func (s *State) upstream(a *Allocation) Upstream {
	u := Upstream{Allocation: a.ID, Instance: a.Instance(), Node: a.Node, Address: a.Observed.Address}
	if n, ok := s.nodes.get(a.Node); ok {
		u.Zone = n.Zone
	}
	return u
}

func releaseKey(app AppName, v ReleaseVersion) string { return fmt.Sprintf("%s/%010d", app, int(v)) }

// sequenceKey orders "a-7" before "a-12".
func sequenceKey[ID ~string](app AppName, id ID) string {
	_, n, _ := strings.Cut(string(id), "-")
	return string(app) + "/" + strings.Repeat("0", max(0, 20-len(n))) + n
}
