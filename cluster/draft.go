package cluster

import (
	"fmt"
	"maps"
	"time"
)

// Draft is a State being made from another by package store, and by nobody
// else. Put methods take ownership of what they are given: copy before you
// change what a State returned. A Draft is not safe for concurrent use.
type Draft struct {
	s      State
	events int
}

// Draft begins the state at Raft index.
func (s *State) Draft(index uint64) *Draft {
	d := &Draft{s: *s}
	d.s.index = index
	return d
}

// State is the view so far; reads see the draft's own writes. The returned value
// stays valid and does not change when the draft goes on.
func (d *Draft) State() *State {
	s := d.s
	return &s
}

// NextSequence gives the next number for a build, deployment or allocation.
func (d *Draft) NextSequence() uint64 {
	d.s.sequence++
	return d.s.sequence
}

// PutSettings replaces what the whole cluster shares.
func (d *Draft) PutSettings(s Settings) { d.s.settings = s }

// PutApp stores a and stamps its index.
func (d *Draft) PutApp(a App) { a.Index = d.s.index; d.s.apps = d.s.apps.set(a.Name, &a) }

// RemoveApp drops an app with its releases, builds, deployments, domains, allocations and refs.
// Its volumes stay.
func (d *Draft) RemoveApp(name AppName) {
	s := d.State()
	for r := range s.Releases(name) {
		d.RemoveRelease(name, r.Version)
	}
	for b := range s.Builds(name) {
		d.RemoveBuild(b)
	}
	for x := range s.Deployments(name) {
		d.RemoveDeployment(x)
	}
	for a := range s.AllocationsOf(name) {
		d.RemoveAllocation(a)
	}
	for x := range s.Domains() {
		if x.App == name {
			d.RemoveDomain(x.Host)
		}
	}
	d.s.repositories = d.s.repositories.del(name)
	d.s.apps = d.s.apps.del(name)
}

// PutRelease stores r under its app and version, new or changed.
func (d *Draft) PutRelease(r Release) {
	d.s.releases = d.s.releases.set(releaseKey(r.App, r.Version), &r)
}

// RemoveRelease drops one release of an app; one that is not there is no error, here and below.
func (d *Draft) RemoveRelease(app AppName, v ReleaseVersion) {
	d.s.releases = d.s.releases.del(releaseKey(app, v))
}

// PutBuild stores b, new or changed.
func (d *Draft) PutBuild(b Build) {
	k := sequenceKey(b.App, b.ID)
	d.s.builds, d.s.buildOwner = d.s.builds.set(k, &b), d.s.buildOwner.set(b.ID, &k)
}

// RemoveBuild drops b.
func (d *Draft) RemoveBuild(b *Build) {
	d.s.builds, d.s.buildOwner = d.s.builds.del(sequenceKey(b.App, b.ID)), d.s.buildOwner.del(b.ID)
}

// PutDeployment stores x and stamps its index.
func (d *Draft) PutDeployment(x Deployment) {
	x.Index = d.s.index
	k := sequenceKey(x.App, x.ID)
	d.s.deployments, d.s.deployOwner = d.s.deployments.set(k, &x), d.s.deployOwner.set(x.ID, &k)
}

// RemoveDeployment drops x.
func (d *Draft) RemoveDeployment(x *Deployment) {
	d.s.deployments, d.s.deployOwner = d.s.deployments.del(sequenceKey(x.App, x.ID)), d.s.deployOwner.del(x.ID)
}

// PutAllocation stores a as it is: its indices are the caller's to stamp.
func (d *Draft) PutAllocation(a Allocation) {
	k := sequenceKey(a.App, a.ID)
	d.s.allocations, d.s.allocOwner = d.s.allocations.set(k, &a), d.s.allocOwner.set(a.ID, &k)
}

// RemoveAllocation drops a.
func (d *Draft) RemoveAllocation(a *Allocation) {
	d.s.allocations, d.s.allocOwner = d.s.allocations.del(sequenceKey(a.App, a.ID)), d.s.allocOwner.del(a.ID)
}

// PutNode stores n, new or changed.
func (d *Draft) PutNode(n Node) { d.s.nodes = d.s.nodes.set(n.ID, &n) }

// RemoveNode drops a node; its allocations stay until they are forgotten. Volumes
// stay, too, but for destroyed ones: nobody is left to remove their data.
func (d *Draft) RemoveNode(id NodeID) {
	for _, v := range d.State().DestroyedOn(id) {
		d.RemoveVolume(v)
	}
	d.s.nodes = d.s.nodes.del(id)
}

// PutDomain stores x.
func (d *Draft) PutDomain(x Domain) { d.s.domains = d.s.domains.set(x.Host, &x) }

// RemoveDomain drops the route of h.
func (d *Draft) RemoveDomain(h Hostname) { d.s.domains = d.s.domains.del(h) }

// PutVolume stores v, new or changed.
func (d *Draft) PutVolume(v Volume) { d.s.volumes = d.s.volumes.set(sequenceKey(v.App, v.ID), &v) }

// RemoveVolume drops the record of v.
func (d *Draft) RemoveVolume(v *Volume) { d.s.volumes = d.s.volumes.del(sequenceKey(v.App, v.ID)) }

// PutToken stores t.
func (d *Draft) PutToken(t Token) { d.s.tokens = d.s.tokens.set(t.ID, &t) }

// RemoveToken drops a token.
func (d *Draft) RemoveToken(id TokenID) { d.s.tokens = d.s.tokens.del(id) }

// PutFile stores an entry of the certificate storage.
func (d *Draft) PutFile(f File) { d.s.files = d.s.files.set(f.Key, &f) }

// RemoveFile drops exactly the entry of that key.
func (d *Draft) RemoveFile(key string) { d.s.files = d.s.files.del(key) }

// PutLock stores a lease.
func (d *Draft) PutLock(l Lock) { d.s.locks = d.s.locks.set(l.Name, &l) }

// RemoveLock drops a lease.
func (d *Draft) RemoveLock(name string) { d.s.locks = d.s.locks.del(name) }

// KeptEvents bounds the audit kept in the state.
const KeptEvents = 2000

// Event records e at the draft's index and drops the oldest beyond KeptEvents.
func (d *Draft) Event(at time.Time, e Event) {
	d.events++
	e.Index, e.At = d.s.index, at
	d.s.events = d.s.events.set(fmt.Sprintf("%020d/%06d", e.Index, d.events), &e)
	for d.s.events.len() > KeptEvents {
		k, _, _ := d.s.events.tree.Root().Minimum()
		d.s.events = d.s.events.del(string(k))
	}
}

// CloneConfig copies a config map for a Draft's owner to change.
func CloneConfig[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}
