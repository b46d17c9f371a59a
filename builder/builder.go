package builder

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"paas/cluster"
)

// Config makes a Builder.
type Config struct {
	// Dir is the builder's own: registry blobs, its port and password.
	Dir string
	// Cluster goes into the labels and names of what is made in the engine.
	Cluster  cluster.ClusterID
	Registry RegistryConfig
	// Sources are the other servers' registries; nil if there can be none.
	Sources Sources
	// Network is the network of build steps: "" is the engine's default bridge,
	// "host" the host's own. Operators set it, apps cannot.
	Network string
	// Engine chooses the engine's builder; the zero value is the best it has.
	Engine Engine
	// Binary is the path of the paas executable, the file server of static sites.
	Binary string
	Logger *slog.Logger
	Limits Limits
}

// RegistryConfig says where the embedded registry listens.
type RegistryConfig struct {
	// Addr is a loopback host:port; "" means a free port, chosen once per Dir.
	Addr string
}

// Engine is one of the builders of a Docker Engine.
type Engine string

const (
	// EngineAuto is BuildKit where the engine has it, else the classic builder.
	EngineAuto     Engine = ""
	EngineBuildKit Engine = "buildkit"
	EngineClassic  Engine = "classic"
)

// Request is one build. Exactly one of Dir and Image is set.
type Request struct {
	App cluster.AppName
	Dir string // unpacked source tree
	// Image is a prebuilt image that the engine has or can pull.
	Image string
	// Keys are the config variables that the app has already. A required one of
	// app.json that is neither there nor has a default fails the build; a nil map
	// means unknown and fails nothing.
	Keys map[string]bool
	// Log takes the build's output, whole lines. Nil discards it. It is written to by
	// one goroutine at a time, but while another calls Step or Warn.
	Log io.Writer
	// Step takes headlines such as "Go app detected (go.mod)"; nil writes them to
	// Log as "-----> Go app detected (go.mod)".
	Step func(text string)
	// Warn takes what a person should know; nil writes it to Log as " !     …".
	Warn func(text string)
}

// Result is what a build made.
type Result struct {
	Image     cluster.Image
	Method    string // "dockerfile", "go", "node", "python", "static", "image"
	Reason    string // why this method
	Processes map[cluster.ProcessType]cluster.Process
	Rollout   cluster.Rollout
	// Env holds defaults for config variables that the app does not have yet:
	// paas.toml [env], app.json, generated secrets.
	Env map[string]cluster.Redacted
	// Formation is app.json's, for a first release.
	Formation map[cluster.ProcessType]int
	// DeployBranch is paas.toml's; "" when it says nothing.
	DeployBranch string
	// Phases says how long "context", "build" and "push" took.
	Phases map[string]time.Duration
}

// Builder builds images and keeps them. Its methods may be called concurrently.
type Builder struct {
	config    Config
	logger    *slog.Logger
	engine    *engine
	registry  *blobStore
	sources   Sources
	flights   chan *flight  // to be begun by Run
	wanting   chan struct{} // capacity 1: something to be kept may be missing
	told      chan struct{} // closed when somebody first said what to keep
	telling   sync.Once     // closes told
	slots     chan struct{} // a build puts one in and takes it out
	dirty     chan struct{} // capacity 1: a collection failed and has to be tried again
	active    atomic.Int32  // builds under way
	binary    binaryHash
	unlimited sync.Once // says once that steps have no limits

	mu    sync.Mutex
	keep  map[imageKey]bool      // what Retain was last told; nil before
	later bool                   // the last collection left what was fresh or in use
	fresh map[imageKey]time.Time // when this process pushed it, copied it or saw it pulled
	// flying are the images on their way here.
	flying map[imageKey]*flight
	asked  map[string]time.Time // base images: when this process last asked their registry
}

// New opens the registry in c.Dir and binds its port, so that Endpoint is known.
// Nothing is served before Run.
func New(c Config) (*Builder, error) {
	c.Limits = c.Limits.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	logger := c.Logger.With("component", "builder")
	e, err := newEngine()
	if err != nil {
		return nil, err
	}
	b := &Builder{
		config: c, logger: logger, engine: e, sources: c.Sources, flights: make(chan *flight), wanting: make(chan struct{}, 1), told: make(chan struct{}),
		slots: make(chan struct{}, c.Limits.Concurrent), dirty: make(chan struct{}, 1),
		fresh: map[imageKey]time.Time{}, flying: map[imageKey]*flight{}, asked: map[string]time.Time{},
	}
	if b.sources == nil {
		b.sources = noSources{}
	}
	if b.registry, err = newRegistry(filepath.Join(c.Dir, "registry"), c.Registry, b.rotten, logger); err != nil {
		return nil, err
	}
	b.registry.fetch = b.pull
	b.registry.pulled = func(m cluster.Content) { b.touch(cluster.Image{Repository: m.Repository, Digest: m.Digest}) }
	return b, nil
}

// Endpoint says where the registry listens and how to log in.
func (b *Builder) Endpoint() cluster.RegistryEndpoint { return b.registry.endpoint }

// Contents serves what the registry holds, by digest and without a password: GET and
// HEAD of the registry's protocol, for hosts that have proved who they are.
func (b *Builder) Contents() http.Handler { return b.registry.contents }

// Has reports whether the registry holds an image, layers included.
func (b *Builder) Has(ctx context.Context, image cluster.Image) bool {
	return b.registry.has(ctx, image)
}

// retryEvery is the first pause after a collection that failed; it doubles up to retryMost.
const (
	retryEvery = 5 * time.Second
	retryMost  = 5 * time.Minute
)

// Run serves the registry, copies images that are to be kept and are not here, and
// completes collections that failed or left something, until ctx ends.
func (b *Builder) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.registry.run(ctx) })
	g.Go(func() error { b.recollect(ctx); return nil })
	g.Go(func() error { b.flyAll(ctx); return nil })
	g.Go(func() error { b.catchUp(ctx); return nil })
	g.Go(func() error { b.scrub(ctx); return nil })
	err := g.Wait()
	_ = b.engine.client.Close() // idle connections only
	if err != nil {
		return fmt.Errorf("run builder: %w", err)
	}
	return nil
}

// recollect tries again after a failed collection, with growing pauses, and comes
// back for what was too fresh or in use.
func (b *Builder) recollect(ctx context.Context) {
	pause := retryEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(freshFor):
			if !b.leftLater() {
				continue
			}
		case <-b.dirty:
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
		if err := b.collect(ctx); err != nil && ctx.Err() == nil {
			b.logger.Warn("images not cleaned up, trying again", "err", err)
			pause = min(2*pause, retryMost)
			b.markDirty()
			continue
		}
		pause = retryEvery
	}
}

func (b *Builder) leftLater() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.later
}

func (b *Builder) markDirty() {
	select {
	case b.dirty <- struct{}{}:
	default:
	}
}
