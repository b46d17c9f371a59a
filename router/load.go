package router

import (
	"sync/atomic"

	"paas/cluster"
)

// appLoad counts what an app has in flight: requests being answered, streams and
// upgraded connections. The bound on it keeps an app that hangs, or its clients,
// from taking the goroutines, memory and descriptors that the others need.
type appLoad struct{ n atomic.Int64 }

// enter counts one in, unless most are in.
func (l *appLoad) enter(most int64) bool {
	if l.n.Add(1) <= most {
		return true
	}
	l.n.Add(-1)
	return false
}

// leave undoes one enter.
func (l *appLoad) leave() { l.n.Add(-1) }

// loadLocked returns the count kept for an app, new if there is none.
func (r *Router) loadLocked(app cluster.AppName) *appLoad {
	l := r.loads[app]
	if l == nil {
		l = &appLoad{}
		r.loads[app] = l
	}
	return l
}

// forgetLoadsLocked drops apps that are not in t and have nothing in flight.
func (r *Router) forgetLoadsLocked(t *table) {
	routed := make(map[cluster.AppName]bool, len(r.loads))
	for _, rt := range t.routes {
		routed[rt.App] = true
	}
	for app, l := range r.loads {
		if !routed[app] && l.n.Load() == 0 {
			delete(r.loads, app)
		}
	}
}
