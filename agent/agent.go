package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/router"
)

// Config is what an Agent is made of.
type Config struct {
	// Dir keeps what the agent must know without a server; made if absent, 0700.
	Dir string
	// Data is the directory of the host's whole state: what others are told who want
	// to work for the same cluster here.
	Data string
	// Node returns the host's newest identity: its certificate is renewed while the
	// agent runs, its ID and role never change.
	Node    func() *identity.Node
	Cluster cluster.ClusterID
	Name    string // host name, for people; "" means the host's own
	Zone    string
	Version string
	Labels  map[string]string
	// Renew takes the host's next identity, which Node returns from then on; nil:
	// somebody else renews it, as a server of the same process does.
	Renew func(*identity.Node) error
	// Address is host:port of the node's port between hosts, "" if it has none.
	Address string
	// Listener is that port; nil if it is somebody else's in the same process. Run
	// closes it.
	Listener net.Listener
	// CallAddress is where the node hears hosts that have lost the others, and calls
	// from when it has itself: the UDP port of this address's number. "" if it does
	// neither.
	CallAddress string
	// Met is told where another host answers; nil does not care.
	Met func(id cluster.NodeID, address string)
	// Measured is told how full the host's file systems are, every other second; nil does
	// not care.
	Measured func([]cluster.Space)
	// Removed is told each time a server says that this node was removed from the
	// cluster. It belongs to who knows better, for a server runs on this host: what
	// that says counts, and the agent goes on until Fence. nil: the word of one counts.
	Removed func()
	// Apps says that the node runs replicas, Builds that a server on the same host
	// builds images. Without both the agent needs no container engine and runs only
	// the router.
	Apps, Builds bool
	// Servers are the addresses to dial first, host:port. The roster names more.
	Servers []string
	Router  *RouterConfig // nil: no router here
	// Registry says where this host's engine gets images, if a server runs here; nil: the
	// agent has a mirror of its own, which asks the servers.
	Registry func() cluster.RegistryEndpoint
	// Offer are more TCP ports of this host that containers and builds may reach.
	Offer  []uint16
	Logger *slog.Logger // nil discards
}

// RouterConfig says where the node's router listens.
type RouterConfig struct {
	HTTP, HTTPS string
	HTTPSPort   int // what clients see; 0 means the HTTPS listener's
}

// resumable is with how many hosts a handshake may be shortened: a third of its time
// (BenchmarkTunnel), and a router opens connections all day.
const resumable = 256

// Agent runs one node. All methods are safe for concurrent use; Run is called once.
type Agent struct {
	config       Config
	log          *slog.Logger
	docker       *docker // nil without Apps and Builds
	claim        *Claim  // nil without Apps and Builds
	memory       *memory
	board        *board
	origins      *origins // nil without Apps
	reconciler   *reconciler
	calls        *calls
	space        *spaceWatch
	retention    *retention     // nil without a mirror
	router       *router.Router // nil without one
	certificates *newestSession
	life         string // of this process
	fenced       atomic.Bool
	hosts        *hosts
	caller       *caller // nil without CallAddress
	dialer       *api.Dialer
	tunnels      *tunnels
	mirror       *mirror                  // nil without Apps, and where a server has a registry
	port         atomic.Pointer[api.Port] // nil until Run, and without Config.Listener

	ready     chan struct{} // closed by Run, see Ready
	met       chan struct{} // closed by the first welcome
	connected sync.Once     // closes met
	settled   chan struct{} // closed by the first good pass over a server's set
	once      sync.Once     // closes settled
}

// New claims the cluster on this host if it needs the engine, opens Config.Dir and
// binds the router's listeners. It starts nothing; Run must follow, for it also
// closes them. A *ClaimedError says that another process serves the cluster here.
func New(c Config) (*Agent, error) {
	if c.Node == nil || c.Cluster == "" || len(c.Servers) == 0 {
		return nil, errors.New("agent: Config.Node, Cluster and Servers are required")
	}
	if c.Name == "" {
		c.Name, _ = os.Hostname() // a node without a name is shown by its ID
	}
	me := c.Node()
	a := &Agent{config: c, certificates: &newestSession{}, ready: make(chan struct{}), met: make(chan struct{}), settled: make(chan struct{}),
		log: cmp.Or(c.Logger, slog.New(slog.DiscardHandler)).With("component", "agent", "node", me.ID)}
	if err := a.open(); err != nil {
		if a.claim != nil {
			a.claim.Release()
		}
		if a.caller != nil {
			_ = a.caller.conn.Close() // nothing was heard
		}
		return nil, err
	}
	return a, nil
}

// open takes what New promises. What it leaves after an error is the claim.
func (a *Agent) open() (err error) {
	c, rt := a.config, runtime{}
	if c.Apps || c.Builds {
		if a.claim, err = NewClaim(c.Cluster, c.Data); err != nil {
			return err
		}
		if a.docker, err = newDocker(c.Cluster); err != nil {
			return err
		}
	}
	if c.Apps {
		rt = a.docker.runtime()
	}
	if err := a.remember(rt); err != nil {
		return err
	}
	a.space = &spaceWatch{dir: c.Dir, root: a.engineRoot, filled: make(chan struct{}, 1), told: c.Measured}
	if a.mirror != nil {
		a.retain(rt)
	}
	a.listenForCalls()
	if c.Router == nil {
		return nil
	}
	a.router, err = router.New(router.Config{HTTP: c.Router.HTTP, HTTPS: c.Router.HTTPS, HTTPSPort: c.Router.HTTPSPort,
		Node: c.Node().ID, Zone: c.Zone, Dir: filepath.Join(c.Dir, "router"), Certificates: a.certificates,
		Dial: a.dialUpstream, Probe: reach{a.dialer.Dial}.probe, Logger: c.Logger, Limits: router.Limits{InFlight: router.InFlightFor(hostMemory())}})
	if err != nil {
		return errors.Join(err, a.closeMirror(), a.memory.close())
	}
	return nil
}

// listenForCalls opens the port for calls. Without it the node is only not found by
// hosts that lost everybody.
func (a *Agent) listenForCalls() {
	if a.config.CallAddress == "" {
		return
	}
	var err error
	a.caller, err = newCaller(a.config.CallAddress, a.config.Node, func(id cluster.NodeID, role identity.Role, address string) {
		a.hosts.meet(id, address)
		if role == identity.RoleServer {
			a.hosts.meetStranger(id, address)
		}
		if a.config.Met != nil {
			a.config.Met(id, address)
		}
	}, a.log)
	if err != nil {
		a.log.Warn("hosts that lost the others cannot call this one", "err", err)
	}
}

// remember opens the agent's memory and makes what works from it.
func (a *Agent) remember(rt runtime) error {
	var err error
	if a.memory, err = openMemory(a.config.Dir); err != nil {
		return err
	}
	set, err := a.memory.assignments()
	if err != nil {
		a.log.Warn("last assignments are lost; waiting for a server", "err", err)
		set = nil
	}
	roster, err := a.memory.roster()
	if err != nil {
		a.log.Warn("last list of hosts is lost; waiting for a server", "err", err)
	}
	a.hosts = newHosts(a.config.Node().ID, roster)
	a.dialer = &api.Dialer{Node: a.config.Node, Addresses: a.hosts.addresses, Met: a.hosts.meet, Sessions: tls.NewLRUClientSessionCache(resumable)}
	if a.config.Apps && a.config.Registry == nil {
		if err := a.openMirror(); err != nil {
			return errors.Join(err, a.memory.close())
		}
	}
	seen, err := a.memory.observed()
	if err != nil {
		return errors.Join(err, a.closeMirror(), a.memory.close())
	}
	a.board = newBoard(seen, a.keep, a.drop)
	confirm := func(context.Context, cluster.Upstream) error { return errNoApps }
	if a.config.Apps {
		a.origins = newOrigins(a.board, rt.containers.Inspect)
		confirm = a.origins.confirmFor
	}
	a.tunnels = newTunnels(a.hosts.member, confirm, tunnelsFor(hostMemory()), a.log)
	archive, life := newArchive(), randomName()
	a.reconciler = newReconciler(&shared{cluster: a.config.Cluster, life: life, runtime: rt, probe: checkReplica, board: a.board, archive: archive,
		registry: a.endpoint, listening: listeningPorts, starts: make(chan struct{}, startLimit(goruntime.NumCPU())), users: newUsers(), pins: newPins(), log: a.log}, set)
	a.life = life
	a.calls = &calls{cluster: a.config.Cluster, life: life, runtime: rt, board: a.board, archive: archive,
		assignment: a.reconciler.assignment, registry: a.endpoint, pins: a.reconciler.shared.pins}
	return nil
}

// endpoint is where this host's engine gets images.
func (a *Agent) endpoint() cluster.RegistryEndpoint {
	switch {
	case a.config.Registry != nil:
		return a.config.Registry()
	case a.mirror != nil:
		return a.mirror.endpoint
	}
	return cluster.RegistryEndpoint{}
}

// openMirror opens the host's own way to images, where it was before.
func (a *Agent) openMirror() error {
	kept, err := a.memory.registry()
	if err != nil {
		a.log.Warn("port of the image mirror is lost, choosing another", "err", err)
		kept = nil
	}
	source := api.NewImageSource(a.dialer.Transport(api.ALPNPeer, serverDialTime), func() []cluster.NodeID {
		var all []cluster.NodeID
		for _, m := range a.hosts.nearest(a.config.Zone) {
			all = append(all, m.ID)
		}
		return all
	})
	if a.mirror, err = openMirror(kept, source, a.log); err != nil {
		return err
	}
	if kept == nil || *kept != a.mirror.endpoint {
		err = a.memory.saveRegistry(a.mirror.endpoint)
	}
	if err != nil {
		return errors.Join(err, a.closeMirror())
	}
	return nil
}

// closeMirror is for an agent that never ran.
func (a *Agent) closeMirror() error {
	if a.mirror == nil {
		return nil
	}
	return a.mirror.listener.Close()
}

// keep and drop make the board durable. It is a convenience of restarts: an
// agent that cannot write still runs its node.
func (a *Agent) keep(o api.Observed) {
	if err := a.memory.saveObserved(o); err != nil {
		a.log.Warn("observation not saved", "alloc", o.ID, "err", err)
	}
}

func (a *Agent) drop(id cluster.AllocationID) {
	if a.origins != nil {
		a.origins.forget(id)
	}
	if err := a.memory.forget(id); err != nil {
		a.log.Warn("observation not dropped", "alloc", id, "err", err)
	}
}

// Run works until ctx ends. The containers go on: that is how an agent is
// upgraded. The order of the end: session, replicas and router stop together,
// then the claim goes and the memory closes.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if a.config.Apps {
		g.Go(func() error { return a.runApps(ctx) })
	} else {
		a.once.Do(func() { close(a.settled) })
	}
	if a.docker != nil {
		wall := a.firewall()
		g.Go(func() error { return wall.run(ctx) })
		g.Go(func() error { return a.claim.answer(ctx) })
	}
	if a.mirror != nil {
		g.Go(func() error { return a.mirror.run(ctx) })
	}
	if a.router != nil {
		g.Go(func() error { return a.router.Run(ctx) })
	}
	if a.caller != nil {
		g.Go(func() error { return a.caller.run(ctx) })
	}
	g.Go(func() error { return a.keepSession(ctx) })
	if a.config.Renew != nil {
		g.Go(func() error { return a.keepCertificate(ctx) })
	}
	if a.config.Listener != nil {
		g.Go(func() error { return a.servePort(ctx) })
	}
	g.Go(func() error { return a.space.run(ctx) })
	g.Go(func() error { return a.announce(ctx) })
	err := g.Wait()
	if a.docker != nil {
		_ = a.docker.client.Close() // idle connections only
		a.claim.Release()
	}
	if closing := a.memory.close(); closing != nil {
		err = errors.Join(err, fmt.Errorf("close agent memory: %w", closing))
	}
	return err
}

// runApps keeps the replicas.
func (a *Agent) runApps(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.reconciler.watch(ctx) })
	g.Go(func() error {
		return a.reconciler.run(ctx, func() { a.once.Do(func() { close(a.settled) }) })
	})
	if a.retention != nil {
		g.Go(func() error { return a.retention.begin(ctx, a.settled) })
	}
	return g.Wait()
}

// firewall offers containers what this node offers to everybody: its router and
// its port between hosts, where each caller has to say who it is; and what its
// operator said.
func (a *Agent) firewall() *firewall {
	offered := []string{a.config.Address}
	if a.router != nil {
		offered = append(offered, a.router.HTTPAddr().String(), a.router.HTTPSAddr().String())
	}
	ports := slices.Concat(offeredPorts(offered...), a.config.Offer)
	slices.Sort(ports)
	return &firewall{cluster: a.config.Cluster, ports: slices.Compact(ports), engine: a.docker, log: a.log, dirty: make(chan struct{}, 1)}
}

// announce closes ready when everything was met.
func (a *Agent) announce(ctx context.Context) error {
	for _, c := range []chan struct{}{a.met, a.settled} {
		select {
		case <-c:
		case <-ctx.Done():
			return nil
		}
	}
	close(a.ready)
	return nil
}

// Ready is closed when a session is up, the first full set of assignments was
// reconciled, and the router (if any) listens.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// HTTPSAddr is where the router answers HTTPS; nil without a router.
func (a *Agent) HTTPSAddr() net.Addr {
	if a.router == nil {
		return nil
	}
	return a.router.HTTPSAddr()
}
