package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/router"
)

const (
	// dialTimeout leaves time for a second server inside half a lease.
	dialTimeout = api.NodeLease / 4
	// A server that does not answer is tried again soon: 5,000 agents spread over a
	// second are no stampede.
	redialFirst = 100 * time.Millisecond
	redialLimit = time.Second
	// sessionSound is how long a session must last for the next wait to be short again.
	sessionSound = 5 * time.Second
	// removedPause is how often a node that was removed asks again: only one server may
	// have said so, which was given up for lost and came back.
	removedPause = time.Minute
)

// redials paces the search for a session.
type redials struct {
	wait    time.Duration // before the next try
	refused int           // tries since a server said first that this node was removed
}

// next takes how a try ended that made no session which lasted, and says how long to
// wait. servers is how many there are to ask.
func (r *redials) next(err error, servers int) time.Duration {
	if r.refused > 0 || api.WasRemoved(err) {
		r.refused++
	}
	r.wait = min(max(2*r.wait, redialFirst), redialLimit)
	if r.refused > servers { // all were asked
		return removedPause
	}
	return r.wait
}

// keepSession keeps one session with one of the servers until ctx ends. It says
// once that it lost it, and once that this node was removed.
func (a *Agent) keepSession(ctx context.Context) error {
	tries, warned, since := redials{}, false, time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		servers := a.hosts.servers(a.config.Servers, a.config.Zone)
		server := servers[i%len(servers)]
		welcomed, err := a.session(ctx, server)
		if ctx.Err() != nil {
			return nil
		}
		if !welcomed.IsZero() && time.Since(welcomed) >= sessionSound {
			tries, warned, since = redials{}, false, time.Now()
		}
		if a.caller != nil && time.Since(since) >= callAfter {
			a.caller.call()
		}
		if err = a.judgeRemoval(err); api.WasRemoved(err) {
			a.removed(server, tries)
			warned = true
		}
		if !warned {
			a.log.Warn("no session with a server; replicas run on", "server", server, "err", err)
			warned = true
		}
		wait := tries.next(err, len(servers))
		pause(ctx, wait/2+rand.N(wait/2))
	}
	return nil
}

// judgeRemoval returns err, as far as it counts. Who was given up for lost and came back,
// or went on alone by mistake (recover), removes servers in its own eyes that still have
// a majority: where one runs, that one knows.
func (a *Agent) judgeRemoval(err error) error {
	if !api.WasRemoved(err) || a.config.Removed == nil {
		return err
	}
	a.config.Removed()
	if a.fenced.Load() {
		return err
	}
	return errors.New("it says that this node was removed, and the server on this host is asked whether that is so")
}

// removed does what is left to do when a server says that this node was removed.
func (a *Agent) removed(server string, before redials) {
	if before.refused == 0 && !a.fenced.Load() {
		a.idles("server", server)
	}
	a.fence()
}

// Fence ends what runs when the cluster has removed this node, for good. It is for who
// was told so by Config.Removed.
func (a *Agent) Fence() {
	if !a.fenced.Swap(true) {
		a.idles()
	}
	a.fence()
}

func (a *Agent) idles(attrs ...any) {
	a.log.Error("this node was removed from the cluster: it idles. To let the host join again: stop this, empty its data directory, start it with a new join string",
		append(attrs, "dir", a.config.Data)...)
}

// fence ends what runs: an agent that starts again does not begin it anew.
func (a *Agent) fence() {
	set := a.reconciler.fence()
	if set == nil {
		return
	}
	a.log.Warn("this node was removed from the cluster; its replicas end, volumes keep their data")
	if err := a.memory.saveAssignments(set); err != nil {
		a.log.Error("assignments not saved; a restart would begin from older ones", "err", err)
	}
}

// session has one session with one server, from dial to end. welcomed is when it began;
// zero if it did not.
func (a *Agent) session(ctx context.Context, server string) (welcomed time.Time, err error) {
	conn, err := a.dial(ctx, server)
	if err != nil {
		return welcomed, fmt.Errorf("dial server %s: %w", server, err)
	}
	s, err := api.NewAgentSession(ctx, api.SessionConfig{Conn: conn, Hello: a.hello(ctx), Space: a.space.last, Calls: a.calls, Logger: a.log})
	if err != nil {
		return welcomed, fmt.Errorf("open session with %s: %w", server, err)
	}
	if got := s.Welcome().Cluster; got != a.config.Cluster {
		_ = s.Close()
		return welcomed, fmt.Errorf("server %s belongs to cluster %q", server, got)
	}
	a.welcome(s.Welcome())
	a.certificates.session.Store(s)
	defer a.certificates.session.CompareAndSwap(s, nil)
	a.log.Info("session begun", "server", server)
	welcomed = time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx, a.desired) })
	g.Go(func() error { return a.report(ctx, s) })
	return welcomed, g.Wait()
}

// dial connects to a server and proves who both are.
func (a *Agent) dial(ctx context.Context, server string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := api.DialHost(ctx, server, api.ALPNSession)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, a.config.Node().ClientConfig(api.ALPNSession))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // it is no connection
		return nil, err
	}
	// Servers that were given up for lost may come back with a majority of their own,
	// and tell what was wanted before.
	id, _, err := identity.PeerNode(conn.ConnectionState())
	if err == nil && a.hosts.refuses(id) {
		err = fmt.Errorf("server %s was removed from the cluster", id)
	}
	if err != nil {
		_ = raw.Close() // nothing that it says counts
		return nil, err
	}
	return conn, nil
}

// hello describes the node and everything on it.
func (a *Agent) hello(ctx context.Context) api.Hello {
	c, me := a.config, a.config.Node()
	n := cluster.Node{ID: me.ID, Name: c.Name, Zone: c.Zone, Version: c.Version, FeatureLevel: cluster.FeatureLevel, Labels: maps.Clone(c.Labels),
		Address: c.Address, Apps: c.Apps, Router: a.router != nil, Server: me.Role == identity.RoleServer}
	info := a.engineInfo(ctx)
	n.DockerVersion, n.Arch = info.Version, info.Arch
	n.MemoryBytes, n.CPUMilli = capacity(info.MemoryBytes, info.CPUs)
	return api.Hello{Node: n, Observed: a.board.all(), Space: a.space.last(), Process: a.life}
}

// welcome takes what the server said of the cluster.
func (a *Agent) welcome(w api.Welcome) {
	if a.router != nil {
		a.router.SetACME(router.ACMEConfig{Directory: w.ACME.Directory, Email: w.ACME.Email, CA: w.ACME.CA})
	}
	a.connected.Do(func() { close(a.met) })
}

// desired takes what the server wants. Assignments are saved before they are
// acted on: what runs is never more than what is remembered.
func (a *Agent) desired(d api.Desired) {
	if d.Roster != nil {
		roster := a.hosts.update(d.Roster)
		if port := a.port.Load(); port != nil {
			port.Expel() // whoever is removed now
		}
		if err := a.memory.saveRoster(roster); err != nil {
			a.log.Error("list of hosts not saved; without a server a restart would search them at older addresses", "err", err)
		}
	}
	if d.Routes != nil && a.router != nil {
		a.router.SetTable(d.Routes)
	}
	if d.Assignments == nil {
		return
	}
	if err := a.memory.saveAssignments(d.Assignments); err != nil {
		a.log.Error("assignments not saved; without a server a restart would begin from older ones", "err", err)
	}
	a.reconciler.assign(d.Assignments)
}

// report sends news as they come. Hello carried what was known before.
func (a *Agent) report(ctx context.Context, s *api.AgentSession) error {
	var routed <-chan struct{}
	if a.router != nil {
		routed = a.router.Changed()
		if err := s.ReportRouter(a.router.Status()); err != nil {
			return err
		}
	}
	wake(a.board.changed) // news that came between Hello and now
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.board.changed:
			if news := a.board.take(); len(news) > 0 {
				err = s.Report(news)
			}
			if gone := a.board.takeGone(); len(gone) > 0 && err == nil {
				err = s.ReportGone(gone)
			}
		case <-routed:
			err = s.ReportRouter(a.router.Status())
		}
		if err != nil {
			return err
		}
	}
}
