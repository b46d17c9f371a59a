package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/cluster"
)

// Config is what a Router is made of.
type Config struct {
	HTTP, HTTPS string // listen addresses
	// HTTPSPort is the port that clients see, for redirects and X-Forwarded-Port;
	// 0 means the HTTPS listener's.
	HTTPSPort int
	Node      cluster.NodeID
	Zone      string // replicas of the same zone are preferred
	// Dir keeps the last table and the certificates; it is made if absent.
	Dir          string
	Certificates Certificates
	// Dial connects to a replica; nil dials its address over TCP.
	// An error that is its host's and not its own is a *HostError.
	Dial func(ctx context.Context, u cluster.Upstream) (net.Conn, error)
	// Probe connects to another host such that each byte comes back; nil: other
	// hosts are not watched, and judged by their replicas only.
	Probe  func(ctx context.Context, node cluster.NodeID) (net.Conn, error)
	ACME   ACMEConfig // zero means what SetACME was last given
	Limits Limits
	Logger *slog.Logger // nil discards
}

// ACMEConfig says how public host names get certificates. An empty Directory
// means that every host gets one of the cluster's own edge CA.
type ACMEConfig struct {
	Directory string
	Email     string
	// CA (PEM) signs the directory's own TLS, for private ACME servers; "" means
	// the system's roots.
	CA string
}

// Certificates is the replicated certificate storage and the edge CA, as the
// agent's session offers them. Absent files are fs.ErrNotExist.
type Certificates interface {
	LoadFile(ctx context.Context, key string) (value []byte, modified time.Time, err error)
	StoreFile(ctx context.Context, key string, value []byte) error
	DeleteFile(ctx context.Context, key string) error
	ListFiles(ctx context.Context, prefix string) ([]string, error)
	// Lock takes or renews a lease for ttl; another holder's is KindConflict. A ttl
	// of 0 gives it back.
	Lock(ctx context.Context, name, holder string, ttl time.Duration) error
	// SignEdge signs a certificate request (DER); the answer is the PEM chain.
	SignEdge(ctx context.Context, csr []byte) ([]byte, error)
}

// Router serves the route table. All methods are safe for concurrent use.
type Router struct {
	config        Config
	limits        Limits
	log           *slog.Logger
	dial          func(ctx context.Context, u cluster.Upstream) (net.Conn, error)
	plain, secure net.Listener
	publicPort    string
	disk          *disk
	certs         *certs
	counters      counters
	active        sync.WaitGroup // requests being answered

	table   atomic.Pointer[table] // never nil
	changed chan struct{}         // capacity 1; sent by whoever changes Status, never closed
	unsaved chan struct{}         // capacity 1; sent by SetTable and SetACME, never closed
	watches chan *remote          // sent by requests, never closed

	mu        sync.Mutex
	upstreams map[upstreamKey]*upstream    // in the table, or left with holders
	loads     map[cluster.AppName]*appLoad // in the table, or with something in flight
	remotes   map[cluster.NodeID]*remote   // those of upstreams
}

// New binds the listeners, so that the caller knows the ports, and loads the
// last table and ACME settings from Config.Dir. It starts nothing; Run must follow, for it also
// closes the listeners.
func New(c Config) (*Router, error) {
	if c.Certificates == nil {
		return nil, errors.New("router: Config.Certificates is required")
	}
	r := newRouter(c)
	if err := r.disk.init(); err != nil {
		return nil, fmt.Errorf("prepare router directory: %w", err)
	}
	var err error
	if r.plain, err = listen(c.HTTP); err != nil {
		return nil, fmt.Errorf("listen for HTTP: %w", err)
	}
	if r.secure, err = listen(c.HTTPS); err != nil {
		_ = r.plain.Close()
		return nil, fmt.Errorf("listen for HTTPS: %w", err)
	}
	if c.HTTPSPort == 0 {
		_, r.publicPort, _ = net.SplitHostPort(r.secure.Addr().String())
	}
	if c.ACME == (ACMEConfig{}) {
		r.certs.acme = r.loadACME()
	}
	r.loadTable()
	return r, nil
}

// newRouter makes a Router without listeners and without its last table.
func newRouter(c Config) *Router {
	r := &Router{
		config:     c,
		limits:     c.Limits.withDefaults(),
		log:        cmp.Or(c.Logger, slog.New(slog.DiscardHandler)).With("component", "router"),
		dial:       c.Dial,
		publicPort: strconv.Itoa(c.HTTPSPort),
		disk:       &disk{dir: c.Dir},
		changed:    make(chan struct{}, 1),
		unsaved:    make(chan struct{}, 1),
		upstreams:  map[upstreamKey]*upstream{},
		loads:      map[cluster.AppName]*appLoad{},
		remotes:    map[cluster.NodeID]*remote{},
		watches:    make(chan *remote, 64),
	}
	if r.dial == nil {
		r.dial = dialTCP
	}
	r.table.Store(&table{source: &cluster.RouteTable{}})
	r.certs = newCerts(r)
	return r
}

// Run serves until ctx ends. It returns when every request was answered or cut
// and all that it started has ended.
func (r *Router) Run(ctx context.Context) error {
	r.certs.open()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.certs.run(ctx) })
	g.Go(func() error { return r.keep(ctx) })
	g.Go(func() error { return r.listen(ctx) })
	g.Go(func() error { return r.follow(ctx) })
	g.Go(func() error { return r.serve(ctx, r.plain, r.secure) })
	err := g.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.upstreams { // a last table may be on its way in
		u.transport.CloseIdleConnections()
	}
	return err
}

// HTTPAddr is where plain HTTP is answered.
func (r *Router) HTTPAddr() net.Addr { return r.plain.Addr() }

// HTTPSAddr is where HTTPS is answered.
func (r *Router) HTTPSAddr() net.Addr { return r.secure.Addr() }

// SetACME replaces Config.ACME, for later starts too. Certificates in use stay in
// use until a new one was issued.
func (r *Router) SetACME(c ACMEConfig) { r.certs.setACME(c) }
