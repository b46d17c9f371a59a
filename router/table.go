package router

import (
	"errors"
	"strings"
	"time"

	"paas/cluster"
)

// table is one route table, ready for look-ups. It is never changed: a new one
// replaces it.
type table struct {
	source      *cluster.RouteTable
	routes      map[string]*route // by lower-case host
	allocations map[cluster.AllocationID]bool
}

// route is one host of a table.
type route struct {
	cluster.Route
	pool pool
	load *appLoad // shared by all hosts of the app
}

var (
	errNoHost    = errors.New("no app has this host")
	errNoReplica = errors.New("no healthy replica")
	errIdleApp   = errors.New("no replica is wanted")
)

// SetTable replaces what is served. When it returns no new request goes to a
// replica outside t, Status reports t's index and what is still in flight on the
// replicas that left, and connections that have nothing to do with the change
// noticed nothing. Whether t is newer than the table before is the caller's
// knowledge: t is installed whatever its index.
func (r *Router) SetTable(t *cluster.RouteTable) {
	if t == nil {
		return
	}
	r.install(t)
	signal(r.unsaved)
}

func (r *Router) install(t *cluster.RouteTable) {
	r.mu.Lock()
	next := &table{source: t, routes: make(map[string]*route, len(t.Routes)), allocations: map[cluster.AllocationID]bool{}}
	live := map[upstreamKey]bool{}
	for _, rt := range t.Routes {
		n := &route{Route: rt, load: r.loadLocked(rt.App)}
		for _, u := range rt.Upstreams {
			n.pool.add(r.upstreamLocked(u), r.config.Node, r.config.Zone)
			live[keyOf(u)] = true
			next.allocations[u.Allocation] = true
		}
		next.routes[strings.ToLower(string(rt.Host))] = n
	}
	r.table.Store(next)
	for key, u := range r.upstreams {
		if !live[key] {
			u.retire() // after the swap: whoever fails to hold it finds the new table
		}
	}
	r.forgetLocked()
	r.forgetLoadsLocked(next)
	r.mu.Unlock()
	r.certs.refresh()
	signal(r.changed)
}

// upstreamLocked returns the state kept for u, new if there is none.
func (r *Router) upstreamLocked(u cluster.Upstream) *upstream {
	key := keyOf(u)
	up := r.upstreams[key]
	if up == nil {
		host := r.remoteLocked(u.Node)
		up = &upstream{Upstream: u, host: host, transport: r.newTransport(u, host), changed: func() { signal(r.changed) }}
		r.upstreams[key] = up
	}
	up.revive()
	return up
}

// forgetLocked drops replicas that left the table and have no holder.
func (r *Router) forgetLocked() {
	for key, u := range r.upstreams {
		if u.held.Load() == retiredBit {
			delete(r.upstreams, key)
		}
	}
	r.forgetRemotesLocked()
}

// choose picks a replica for host and holds it. The caller releases it.
func (r *Router) choose(host string, skip []*upstream) (*upstream, error) {
	for {
		rt := r.table.Load().routes[host]
		if rt == nil {
			return nil, errNoHost
		}
		u := rt.pool.pick(skip, time.Now())
		if u == nil && rt.Idle {
			return nil, errIdleApp
		}
		if u == nil {
			return nil, errNoReplica
		}
		if u.hold() {
			return u, nil
		}
		// u left the table after we read it, so a newer one is there already.
	}
}

// Table is what is served; an empty table before the first.
func (r *Router) Table() *cluster.RouteTable { return r.table.Load().source }

// Status is what the control plane needs to know before it stops a replica: if
// Index is that of a table without it, or newer, and InFlight does not name it,
// this router will never send it another request. Silent tells people which
// replicas take requests and answer none.
func (r *Router) Status() cluster.RouterStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.table.Load()
	s := cluster.RouterStatus{Node: r.config.Node, Index: t.source.Index}
	now := time.Now()
	for _, u := range r.upstreams {
		if since, mute := u.silent(now); mute && u.held.Load()&retiredBit == 0 {
			if s.Silent == nil {
				s.Silent = map[cluster.AllocationID]time.Time{}
			}
			s.Silent[u.Allocation] = since
		}
		n := u.load()
		if n == 0 || t.allocations[u.Allocation] {
			continue
		}
		if s.InFlight == nil {
			s.InFlight = map[cluster.AllocationID]int{}
		}
		s.InFlight[u.Allocation] += int(n)
	}
	r.forgetLocked()
	return s
}

// Changed gets a value when Status has changed. Capacity 1, one reader.
func (r *Router) Changed() <-chan struct{} { return r.changed }

// signal marks a level-triggered channel dirty.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
