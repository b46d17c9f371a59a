package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"
)

// Certificates are wanted for the hosts of the table and for nothing else. Each
// host has one goroutine, from its first appearance until it has a certificate
// in memory; certmagic's maintenance renews it from then on. Handshakes that
// come earlier wait.
//
// A client that names no server, or a host of the cluster's own domain that nobody
// has, gets the fallback's certificate and is told so with a page. Whoever names
// another host outside the table is refused with unrecognized_name: no certificate
// could be the right one.

// issuing is how many certificates of one kind are obtained at once.
const issuing = 16

// certs obtains, keeps and serves certificates.
type certs struct {
	r     *Router
	wake  chan struct{} // capacity 1; sent by refresh, never closed
	local *localStorage
	// fallback is nil before open.
	fallback *fallback
	moved    chan struct{} // capacity 1; sent by refresh, for the fallback
	// signers is nil before open. It is read without a lock because certmagic
	// asks for it with its cache locked.
	signers atomic.Pointer[signers]

	mu      sync.Mutex
	acme    ACMEConfig
	hosts   map[string]*hostCert
	issuers map[string]bool // keys of all issuers there ever were
}

// signers is who signs certificates at present. It is never changed.
type signers struct {
	cache  *certmagic.Cache
	edge   *certmagic.Config
	public *certmagic.Config // nil without an ACME directory
	issuer acmeIssuer        // of public
}

func (s *signers) kind(rt *route) certKind {
	if rt.Internal || s.public == nil {
		return kindEdge
	}
	return kindACME
}

func (s *signers) config(k certKind) *certmagic.Config {
	if k == kindACME && s.public != nil {
		return s.public
	}
	return s.edge
}

// hostCert is the certificate of one host.
type hostCert struct {
	kind   certKind
	ready  chan struct{}      // closed when a certificate is in memory
	cancel context.CancelFunc // ends its goroutine; nil if that did not begin
}

// certKind says who signs.
type certKind uint8

const (
	kindEdge certKind = iota
	kindACME
)

func newCerts(r *Router) *certs {
	return &certs{r: r, wake: make(chan struct{}, 1), moved: make(chan struct{}, 1), acme: r.config.ACME, hosts: map[string]*hostCert{},
		issuers: map[string]bool{edgeIssuerKey: true}, local: newLocalStorage(r.disk)}
}

// refresh makes run look at the table again.
func (c *certs) refresh() {
	signal(c.wake)
	signal(c.moved)
}

func (c *certs) setACME(a ACMEConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acme == a {
		return
	}
	c.acme = a
	if s := c.signers.Load(); s != nil {
		c.signers.Store(c.signersLocked(s.cache))
	}
	c.refresh()
	signal(c.r.unsaved)
}

func (c *certs) settings() ACMEConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acme
}

// open must come before the first handshake, and run after it.
func (c *certs) open() {
	cache := certmagic.NewCache(certmagic.CacheOptions{GetConfigForCert: c.configFor, Logger: c.zap()})
	c.fallback = c.newFallback()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signers.Store(c.signersLocked(cache))
}

// run obtains what the table needs until ctx ends.
func (c *certs) run(ctx context.Context) error {
	defer c.signers.Load().cache.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.fallback.follow(ctx, c, c.moved) })
	slots := map[certKind]chan struct{}{kindEdge: make(chan struct{}, issuing), kindACME: make(chan struct{}, issuing)}
	c.refresh()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		}
		for host, h := range c.reconcile(ctx) {
			wg.Go(func() { c.provide(h.ctx, host, h.hostCert, slots[h.kind]) })
		}
	}
}

func (c *certs) zap() *zap.Logger { return zap.New(zapCore{handler: c.r.log.Handler()}) }

// edgeConfig makes certmagic ask the edge CA.
func (c *certs) edgeConfig() certmagic.Config {
	return certmagic.Config{
		Storage: c.local, Issuers: []certmagic.Issuer{edgeIssuer{c.r.config.Certificates}}, Logger: c.zap(),
		OCSP:                certmagic.OCSPConfig{DisableStapling: true}, // public CAs have given it up
		DisableStorageCheck: true,                                        // it would send 10 KiB through Raft
		DisableARI:          true,
	}
}

// signersLocked makes certmagic's configurations for the present settings.
func (c *certs) signersLocked(cache *certmagic.Cache) *signers {
	base := c.edgeConfig()
	s := &signers{cache: cache, edge: certmagic.New(cache, base)}
	if c.acme.Directory == "" {
		return s
	}
	base.Storage = newStorage(c.local, c.r.config.Certificates, c.r.config.Node, c.r.log)
	base.DisableARI = false
	public := certmagic.New(cache, base)
	issuer, err := c.r.newACMEIssuer(public, c.acme, c.zap())
	if err != nil {
		c.r.log.Error("no ACME certificates", "err", err)
		return s
	}
	public.Issuers = []certmagic.Issuer{issuer}
	c.issuers[issuer.IssuerKey()] = true
	s.public, s.issuer = public, issuer
	return s
}

// configFor tells certmagic how a certificate in memory is renewed.
func (c *certs) configFor(cert certmagic.Certificate) (*certmagic.Config, error) {
	if len(cert.Names) == 0 {
		return nil, errors.New("certificate without a name")
	}
	rt := c.r.table.Load().routes[cert.Names[0]]
	if rt == nil {
		return nil, fmt.Errorf("host %s is not routed any more", cert.Names[0])
	}
	s := c.signers.Load()
	return s.config(s.kind(rt)), nil
}

type startedCert struct {
	*hostCert
	ctx context.Context
}

// reconcile compares the hosts with the table: it drops what left and returns
// what needs a goroutine now.
func (c *certs) reconcile(ctx context.Context) map[string]startedCert {
	c.mu.Lock()
	defer c.mu.Unlock()
	signers, routes := c.signers.Load(), c.r.table.Load().routes
	for host, h := range c.hosts {
		if rt := routes[host]; rt == nil {
			c.stopLocked(host, h)
			signers.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: host}})
		} else if h.kind != signers.kind(rt) {
			c.stopLocked(host, h) // its certificate serves until the other kind is there
		}
	}
	start := map[string]startedCert{}
	for host, rt := range routes {
		h := c.hostLocked(signers, host, rt)
		if h.cancel == nil {
			var hctx context.Context
			hctx, h.cancel = context.WithCancel(ctx)
			start[host] = startedCert{h, hctx}
		}
	}
	return start
}

func (c *certs) stopLocked(host string, h *hostCert) {
	if h.cancel != nil {
		h.cancel()
	}
	delete(c.hosts, host)
}

func (c *certs) hostLocked(s *signers, host string, rt *route) *hostCert {
	h := c.hosts[host]
	if h == nil {
		h = &hostCert{kind: s.kind(rt), ready: make(chan struct{})}
		if len(s.cache.AllMatchingCertificates(host)) > 0 {
			close(h.ready) // the other kind's, which is good enough meanwhile
		}
		c.hosts[host] = h
	}
	return h
}

// provide gets host's certificate into memory: from disk, which needs nobody,
// else from storage or its issuer, as often as it takes.
func (c *certs) provide(ctx context.Context, host string, h *hostCert, slots chan struct{}) {
	signers := c.signers.Load()
	cfg := signers.config(h.kind)
	if cert, err := cfg.CacheManagedCertificate(diskOnly(ctx), host); err == nil {
		c.provided(host, h)
		if cert.NeedsRenewal(cfg) {
			_ = signers.cache.RenewManagedCertificates(ctx) // never an error: it only queues
		}
		return
	}
	for retry := (retry{kind: h.kind}); ; {
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		err := c.obtain(ctx, cfg, host)
		<-slots
		if err == nil {
			c.provided(host, h)
			return
		}
		wait, level := retry.next(err)
		c.r.log.Log(ctx, level, "certificate not obtained", "host", host, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// obtain loads host's certificate from storage, ordering one if there is none.
func (c *certs) obtain(ctx context.Context, cfg *certmagic.Config, host string) error {
	_, err := cfg.CacheManagedCertificate(ctx, host)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errStorage, err)
	}
	if err := cfg.ObtainCertSync(ctx, host); err != nil {
		return err
	}
	_, err = cfg.CacheManagedCertificate(ctx, host)
	return err
}

// provided lets handshakes go on, and drops the certificates of former issuers.
func (c *certs) provided(host string, h *hostCert) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.signers.Load()
	now := c.hosts[host]
	if now == nil { // it left the table meanwhile
		s.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: host}})
	}
	if now != h {
		return
	}
	mine := s.config(h.kind).Issuers[0].IssuerKey()
	for key := range c.issuers {
		if key != mine {
			s.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: host, IssuerKey: key}})
		}
	}
	select {
	case <-h.ready:
	default:
		close(h.ready)
	}
}

// tlsConfig is what clients shake hands with.
func (r *Router) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1", acmez.ACMETLS1Protocol},
		GetCertificate: r.certs.get,
	}
}

// get finds the certificate for a handshake. No certificate and no error makes
// crypto/tls answer unrecognized_name.
func (c *certs) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(hello.ServerName)
	t := c.r.table.Load()
	rt := t.routes[host]
	if rt == nil {
		return c.fallback.get(hello, host, t.source.Domain), nil
	}
	s := c.signers.Load()
	c.mu.Lock()
	h := c.hostLocked(s, host, rt)
	c.mu.Unlock()
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmez.ACMETLS1Protocol {
		if s.public == nil {
			return nil, nil
		}
		return s.public.GetCertificate(hello)
	}
	select {
	case <-h.ready:
	case <-hello.Context().Done(): // Limits.Handshake
		return nil, fmt.Errorf("no certificate for %s yet: %w", host, hello.Context().Err())
	}
	return s.config(h.kind).GetCertificate(hello)
}

// solveHTTP answers an ACME http-01 challenge of a host of the table, and
// reports whether it did.
func (c *certs) solveHTTP(w http.ResponseWriter, req *http.Request, rt *route) bool {
	if rt.Internal || !certmagic.LooksLikeHTTPChallenge(req) {
		return false
	}
	s := c.signers.Load()
	return s.public != nil && s.issuer.HandleHTTPChallenge(w, req)
}
