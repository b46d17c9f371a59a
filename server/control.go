package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

// cleanupTime bounds what is still written after the one who asked has gone.
const cleanupTime = 10 * time.Second

// control is what every part of the server works with.
type control struct {
	cfg     Config
	log     *slog.Logger
	layout  layout
	store   *store.Store
	sealer  *identity.Sealer
	edge    *identity.Authority
	self    cluster.NodeID
	oneOffs *oneOffs
	misfits *misfits
	book    *book
	tenure  *tenure
	public  string // host:port of the listener for others, in URLs
	// caughtUp is closed when this server has applied all that was committed before
	// it started: until then its state may be older than what was acknowledged.
	caughtUp <-chan struct{}
}

// by says for the store who ctx acts for.
func (c *control) by(ctx context.Context) store.By {
	name := api.ActorFrom(ctx).Name
	if name == "" {
		name = "paas"
	}
	return store.By{Actor: name, At: time.Now().UTC()}
}

// platform is by for what nobody asked for.
func platform() store.By { return store.By{Actor: "paas", At: time.Now().UTC()} }

// read returns a state that holds every acknowledged write, or the newest local
// one if the caller asked for that.
func (c *control) read(ctx context.Context) (*cluster.State, error) {
	if api.Stale(ctx) {
		return c.store.State(), nil
	}
	return c.store.Read(ctx)
}

// app returns an app with the state it is in. An app that is being destroyed is
// none any more.
func (c *control) app(ctx context.Context, name cluster.AppName) (*cluster.State, *cluster.App, error) {
	st, err := c.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	app, err := st.App(name)
	if err != nil {
		return nil, nil, err
	}
	if app.Destroying {
		return nil, nil, cluster.Conflict("destroying", "app %s is being destroyed", name)
	}
	return st, app, nil
}

// until waits for a state that done accepts. It is level-triggered: states may be
// skipped.
func (c *control) until(ctx context.Context, done func(*cluster.State) (bool, error)) error {
	for {
		st := c.store.State()
		if ok, err := done(st); ok || err != nil {
			return err
		}
		select {
		case <-c.store.Changed(st.Index()):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// newer waits for a state after st, d at most, whichever comes first: either way it is
// time for another look. An error means that ctx ended.
func (c *control) newer(ctx context.Context, st *cluster.State, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.store.Changed(st.Index()):
	case <-t.C:
	case <-ctx.Done():
	}
	return context.Cause(ctx) // nil while it lasts
}

// aside returns a context that outlives ctx for a moment, with its actor: what
// was begun is written down even if nobody waits for it any more.
func aside(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
}

// appURL is where the app answers.
func (c *control) appURL(st *cluster.State, app cluster.AppName) string {
	url := "https://" + string(st.Settings().Host(app))
	if c.cfg.PublicHTTPS != 443 {
		url += ":" + strconv.Itoa(c.cfg.PublicHTTPS)
	}
	return url
}

// gitURL is where the app is pushed to.
func (c *control) gitURL(app cluster.AppName) string {
	return fmt.Sprintf("https://%s/git/%s.git", c.public, app)
}

// nodeName names a node for people.
func nodeName(st *cluster.State, id cluster.NodeID) string {
	if n, err := st.Node(id); err == nil && n.Name != "" {
		return n.Name
	}
	return string(id)
}

// configPurpose binds a sealed value to its app and key.
func configPurpose(app cluster.AppName, key string) string {
	return "config/" + string(app) + "/" + key
}

// seal closes config values for one app.
func (c *control) seal(app cluster.AppName, values map[string]cluster.Redacted) (map[string]cluster.Secret, error) {
	sealed := make(map[string]cluster.Secret, len(values))
	for key, v := range values {
		s, err := c.sealer.Seal([]byte(v.Reveal()), configPurpose(app, key))
		if err != nil {
			return nil, err
		}
		sealed[key] = s
	}
	return sealed, nil
}

// unseal opens a release's or an app's config.
func (c *control) unseal(app cluster.AppName, config map[string]cluster.Secret) (map[string]cluster.Redacted, error) {
	plain := make(map[string]cluster.Redacted, len(config))
	for key, s := range config {
		v, err := c.sealer.Open(s, configPurpose(app, key))
		if err != nil {
			return nil, err
		}
		plain[key] = cluster.Redacted(v)
	}
	return plain, nil
}

// publicAddress is the listener as others reach it.
func publicAddress(host string, listener net.Addr) string {
	_, port, _ := net.SplitHostPort(listener.String())
	return net.JoinHostPort(host, port)
}
