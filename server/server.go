package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"paas/api"
	"paas/builder"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// Server is the control plane of one host.
type Server struct {
	*control
	trust     *trust
	node      atomic.Pointer[identity.Node] // renewed while the server runs
	sans      sans
	listener  net.Listener
	dialer    *api.Dialer
	raft      *store.Transport // nil: this server is alone for good
	peers     *peering
	images    Images
	leader    *leader
	hooks     *hookServer
	logCopies *logCopier
	keeper    *keeper
	disk      *ownDisk
	front     *front
	tokens    *tokenService
	joins     *joinService
	ready     chan struct{} // closed by Run when it leads and serves, once
	dismissed chan struct{} // has a place for one signal: Dismiss was called
	// allApplied is closed by Run when this server has what was committed before it.
	allApplied chan struct{}
	started    atomic.Bool // Run was called
}

// New opens or bootstraps everything in c.Dir and binds Listen. It starts nothing:
// call Run, or Close.
func New(c Config) (_ *Server, err error) {
	began := time.Now()
	if c, err = c.complete(); err != nil {
		return nil, err
	}
	s := &Server{ready: make(chan struct{}), dismissed: make(chan struct{}, 1), allApplied: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.open(c, began); err != nil {
		return nil, err
	}
	if err := s.compose(c, began); err != nil {
		return nil, err
	}
	return s, nil
}

// open takes the data directory, the identity and the port.
func (s *Server) open(c Config, now time.Time) error {
	l := layout{c.Dir}
	if err := l.make(); err != nil {
		return err
	}
	public, as, err := c.sans()
	if err != nil {
		return err
	}
	if err := l.settled(); err != nil {
		return err
	}
	if s.trust, err = openTrust(l, c.Domain, as, now); err != nil {
		return err
	}
	s.sans = as
	s.node.Store(s.trust.node)
	if s.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return cluster.Errorf(cluster.KindConflict, "listen", "the server cannot listen on %s", c.Listen).
			Because("%v", err).WithHint("stop what uses the port, or choose another one with: --listen").Wrap(err)
	}
	log := c.Logger.With("component", "server")
	s.control = &control{cfg: c, oneOffs: &oneOffs{}, misfits: newMisfits(), log: log, layout: l, sealer: s.trust.sealer, edge: s.trust.edge, self: s.trust.node.ID,
		public: publicAddress(public.String(), s.listener.Addr()), tenure: newTenure()}
	if s.book, err = openBook(l.roster(), s.self, log); err != nil {
		return err
	}
	s.dialer = &api.Dialer{Node: s.node.Load, Addresses: s.addressesOf, Met: s.book.meet}
	if !c.Alone {
		s.raft = store.NewTransport(s.self, raftPeers{s.dialer})
	}
	if s.store, err = store.Open(store.Config{Dir: l.raft(), Node: s.self, Transport: s.raft, Logger: c.Logger}); err != nil {
		return err
	}
	s.caughtUp = s.allApplied
	// The store's lock says that the directory is this process's alone.
	return errors.Join(s.bootstrap(), l.clean(), l.linkHook(c.Binary))
}

// bootstrap makes a group of this server alone, if it is the one that made the
// cluster. Who joined one gets its group from the others.
func (s *Server) bootstrap() error {
	_, err := os.Stat(s.layout.joined())
	if errors.Is(err, fs.ErrNotExist) {
		return s.store.Bootstrap()
	}
	return err
}

// addressesOf is where a node may be; this server is where it listens.
func (s *Server) addressesOf(id cluster.NodeID) []string {
	if id == s.self {
		return []string{publicAddress("127.0.0.1", s.listener.Addr())}
	}
	return s.book.addresses(id)
}

// raftPeers is how Raft reaches the other servers.
type raftPeers struct{ dialer *api.Dialer }

// Dial implements store.Peers.
func (p raftPeers) Dial(ctx context.Context, id cluster.NodeID) (net.Conn, error) {
	return p.dialer.Dial(ctx, id, api.ALPNRaft)
}

// compose makes the parts and what connects them.
func (s *Server) compose(c Config, began time.Time) error {
	s.peers = newPeering(s.book, s.dialer, newHandover(s.listener.Addr()), s.log)
	images, err := c.images(builder.Config{Dir: s.layout.dir, Cluster: s.trust.settings.ID, Registry: builder.RegistryConfig{Addr: c.RegistryAddr},
		Sources: api.NewImageSource(s.peers.client.Transport, s.imageServers), Network: c.BuildNetwork, Limits: c.BuildLimits, Binary: c.Binary, Logger: c.Logger})
	if err != nil {
		return err
	}
	s.images = images
	copies := &imageCopies{control: s.control, images: s.images, peers: s.peers}
	s.peers.handle("GET /trust", http.HandlerFunc(s.serveTrust), identity.RoleServer)
	s.peers.handle("GET /position", http.HandlerFunc(s.servePosition), identity.RoleServer)
	s.peers.handle("POST /images/ensure", http.HandlerFunc(copies.serveEnsure), identity.RoleServer)
	s.peers.handle("GET /v2/", s.images.Contents(), identity.RoleServer, identity.RoleAgent)
	listener, path, remove, err := listenHooks(s.layout)
	if err != nil {
		return err
	}
	s.tokens = &tokenService{s.control}
	s.joins = &joinService{control: s.control, authority: s.trust.authority}
	ev := newEvidence()
	assign := newAssigner(s.control)
	fleet := newFleet(s.control, assign, ev, s.welcome)
	deployer := &deployer{control: s.control, images: s.images, copies: copies, queue: newQueue(), logs: newBuildLogs(s.layout.builds()),
		evidence: ev, spaces: fleet.spaces, running: map[cluster.BuildID]context.CancelCauseFunc{}, sources: map[string]bool{}}
	git := &gitServer{control: s.control, deployer: deployer, hook: path, pushes: map[string]*push{}}
	git.copies = &copier{control: s.control, git: git, peers: s.peers, turns: newQueue()}
	git.copies.serve()
	s.logCopies = &logCopier{control: s.control, logs: deployer.logs, copies: git.copies}
	s.logCopies.serve()
	s.hooks = &hookServer{git: git, listen: listener, remove: remove}
	keeper := &keeper{control: s.control, deployer: deployer, git: git}
	s.keeper = keeper
	sessions := api.NewSessionServer(api.SessionServerConfig{Events: fleet,
		Calls: &nodeCalls{control: s.control, assign: assign}, Sign: s.joins.renew, Logger: c.Logger})
	releaser := &releaser{deployer: deployer, assign: assign, node: sessions.Node}
	planner := &planner{control: s.control, fleet: fleet}
	s.disk = &ownDisk{control: s.control, spaces: fleet.spaces, stop: deployer.stopBuilds, trim: keeper.trim}
	s.leader = &leader{control: s.control, trust: s.trust, deployer: deployer, fleet: fleet, began: began, loops: []layer{
		{"servers", (&members{s.control, s.peers}).Run}, {"scheduler", planner.Run}, {"assignments", assign.Run}, {"leases", fleet.leases}, {"release commands", releaser.Run}, {"space", (&diskWatch{s.control, fleet.spaces}).Run},
	}}
	services := api.Services{
		Apps:      &appService{control: s.control, deployer: deployer, git: git, keeper: keeper},
		Processes: &processService{control: s.control, deployer: deployer, fleet: fleet},
		Config:    &configService{s.control, deployer}, Releases: &releaseService{s.control, deployer},
		Deploys: deployer, Builds: &buildService{deployer, s.logCopies},
		Logs:      &logService{s.control, sessions.Node},
		Terminals: &terminalService{s.control, assign, sessions.Node},
		Domains:   &domainService{s.control}, Volumes: &volumeService{s.control}, Events: &eventService{s.control}, Nodes: &nodeService{s.control, fleet},
		Tokens: s.tokens, Joins: s.joins, Cluster: &clusterService{s.control, fleet.spaces},
	}
	return s.mount(c, services, git, sessions)
}

// mount puts the API behind the listener.
func (s *Server) mount(c Config, services api.Services, git http.Handler, sessions *api.SessionServer) error {
	handler, _, err := api.NewHandler(api.HandlerConfig{Services: services, Authenticate: s.authenticate, Git: git,
		Version: c.Version, Logger: c.Logger, Servers: s.book.serverAddresses})
	if err != nil {
		return err
	}
	s.front = &front{control: s.control, listener: s.listener, node: s.node.Load, handler: newForwarder(s.control, handler, s.dialer, s.log),
		sessions: sessions, dialer: s.dialer, peers: s.peers, raft: s.raft, log: s.log}
	return nil
}

// Meet notes that another host answers at an address.
func (s *Server) Meet(id cluster.NodeID, address string) { s.book.meet(id, address) }

// Measured takes how full this host's file systems are, whenever somebody measured them.
func (s *Server) Measured(all []cluster.Space) { s.disk.spaces.measured(s.self, all) }

// ServeTunnels gives the port's tunnels to serve: connections of other hosts' routers
// to containers of this one. It is called before Run, if at all.
func (s *Server) ServeTunnels(serve func(ctx context.Context, conn *tls.Conn, from api.Peer)) {
	s.front.tunnel = serve
}

// welcome is what agents are told of the cluster.
func (s *Server) welcome() api.Welcome {
	return api.Welcome{Cluster: s.trust.settings.ID, Domain: s.store.State().Settings().Domain, ACME: s.cfg.ACME}
}

// Registry is where this host's Docker Engine gets images: this server's own registry,
// which asks the other servers for what it lacks.
func (s *Server) Registry() cluster.RegistryEndpoint {
	return s.images.Endpoint()
}

// Run serves until ctx ends. The parts lie inside one another, and end from the
// inside out:
//
//	pushes    first: some outlive their requests' callers, and would hold up the front
//	front     then, so that nothing new comes in and requests can still write
//	          down how they ended; sessions end with it
//	lead      then goes to another server, so that nobody waits for an election
//	hooks     belong to requests, which are gone now
//	leader    its loops write; nobody tells them anything any more
//	images    builds are over; the registry may close
//	store     last: everything above writes to it
func (s *Server) Run(ctx context.Context) error {
	s.started.Store(true)
	err := nest(ctx,
		layer{"store", s.store.Run},
		layer{"images", s.images.Run},
		layer{"copies", s.hooks.git.copies.Run},
		layer{"image retention", (&holder{s.control, s.images}).Run},
		layer{"log copies", s.logCopies.Run},
		layer{"retention", s.keeper.Run},
		layer{"own disk", s.disk.Run},
		layer{"leader", s.leader.Run},
		layer{"certificate", s.renew},
		layer{"search", s.search},
		layer{"hooks", s.hooks.Run},
		layer{"catching up", s.catchUp},
		layer{"removal", s.awaitRemoval},
		layer{"ready", s.announce},
		layer{"step down", s.stepDown},
		layer{"front", s.front.Run},
		layer{"pushes", s.hooks.git.Run},
	)
	if err != nil {
		return fmt.Errorf("run server: %w", err)
	}
	return nil
}

// stepTime bounds the search for a successor.
const stepTime = 3 * time.Second

// stepDown gives the lead to another server when ctx ends.
func (s *Server) stepDown(ctx context.Context) error {
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTime)
	defer cancel()
	if err := s.store.Step(ctx); err != nil {
		s.log.Warn("no other server took the lead; they will elect one", "err", err)
	}
	return nil
}

// announce closes ready when the server leads or follows who does, and has what they
// have; the port is open all the while.
func (s *Server) announce(ctx context.Context) error {
	select {
	case <-s.caughtUp:
	case <-ctx.Done():
		return nil
	}
	close(s.ready)
	s.log.Info("server is ready", "address", s.public, "node", s.cfg.Name)
	<-ctx.Done()
	return nil
}

// renewCheck is how often the clock is compared with the certificate's: timers
// stand still while a host sleeps, and one that slept for a month comes back with
// a certificate that nobody accepts.
const renewCheck = time.Minute

// renew replaces this host's certificate at two thirds of its life. Connections
// that are open stay; new ones meet the new one.
func (s *Server) renew(ctx context.Context) error {
	for pause(ctx, renewCheck) == nil {
		n := s.node.Load()
		if time.Now().Before(n.RenewAt()) {
			continue
		}
		fresh, err := s.trust.issueNode(s.layout, n.ID, s.sans, time.Now())
		if err != nil {
			s.log.Error("certificate was not renewed", "err", err)
			continue
		}
		s.node.Store(fresh)
		s.log.Info("certificate renewed", "until", fresh.NotAfter())
	}
	return nil
}

// Close gives back what New opened; for a server that is never run. After Run it
// does nothing.
func (s *Server) Close() error {
	if s.started.Swap(true) {
		return nil
	}
	var errs []error
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	if s.hooks != nil {
		errs = append(errs, s.hooks.Close())
	}
	if s.images != nil {
		ended, end := context.WithCancel(context.Background())
		end()
		errs = append(errs, s.images.Run(ended)) // it closes its own listener when it ends
	}
	if s.control != nil && s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// Ready is closed when the server leads and serves.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Node is the host's newest identity, for the agent of the same process.
func (s *Server) Node() *identity.Node { return s.node.Load() }

// Addr is the address of the listener.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Address is the listener's host:port as others reach it.
func (s *Server) Address() string { return s.public }

// CAPEM is the certificate of the authority that signs nodes and the API.
func (s *Server) CAPEM() string { return s.trust.authority.CertificatePEM() }

// ClusterID names the cluster.
func (s *Server) ClusterID() cluster.ClusterID { return s.trust.settings.ID }

// NewAdminToken makes a lasting admin token, for the command line of the same
// host. It is for whoever runs this process: no request reaches it.
func (s *Server) NewAdminToken(ctx context.Context, name string) (string, error) {
	return s.tokens.admin(ctx, name)
}

// OneTimeToken makes a one-time login for the first admin, to be shown on the
// server's own console. It is "" when there is an admin already, and on servers that
// do not lead.
func (s *Server) OneTimeToken(ctx context.Context) (string, error) {
	if tenure, _ := s.tenure.now(); tenure == nil {
		return "", nil
	}
	return s.tokens.once(ctx)
}

// FirstJoins makes join strings for the next hosts of a cluster that is this host
// alone, to be shown on the server's own console; nil when there are others.
func (s *Server) FirstJoins(ctx context.Context) (forServer, forAgent *api.NewJoin, err error) {
	return s.joins.first(ctx)
}
