package router

import (
	"context"
	"crypto/tls"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"

	"paas/cluster"
)

// fallback is the one certificate for names below the cluster's own domain that
// nobody has, and for clients that name no server: they get an answer that says so
// instead of an alert. It is a wildcard of the edge CA, made once per domain, so
// that whoever asks for random names makes nobody sign anything. It has a cache of
// its own: in that of the hosts it would pass for a host's certificate.
type fallback struct {
	cache *certmagic.Cache
	cfg   *certmagic.Config
}

// wildcard is the fallback's only name.
func wildcard(domain cluster.Hostname) string { return "*." + strings.ToLower(string(domain)) }

func (c *certs) newFallback() *fallback {
	f := &fallback{}
	f.cache = certmagic.NewCache(certmagic.CacheOptions{Logger: c.zap(),
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return f.cfg, nil }})
	f.cfg = certmagic.New(f.cache, c.edgeConfig())
	return f
}

// follow has the certificate of the table's domain in memory until ctx ends. A new
// domain is told by changed.
func (f *fallback) follow(ctx context.Context, c *certs, changed <-chan struct{}) {
	defer f.cache.Stop()
	for ctx.Err() == nil {
		domain := c.r.Table().Domain
		own, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		if domain != "" {
			wg.Go(func() { f.provide(own, c, wildcard(domain)) })
		}
		for ctx.Err() == nil && c.r.Table().Domain == domain {
			select {
			case <-ctx.Done():
			case <-changed:
			}
		}
		cancel()
		wg.Wait()
		f.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: wildcard(domain)}})
	}
}

// provide gets the certificate into memory: from disk, else from its issuer.
func (f *fallback) provide(ctx context.Context, c *certs, name string) {
	for retry := (retry{kind: kindEdge}); ; {
		err := c.obtain(ctx, f.cfg, name)
		if err == nil {
			for _, cert := range f.cache.AllMatchingCertificates(name) {
				if cert.NeedsRenewal(f.cfg) { // it was long on disk; maintenance comes later
					_ = f.cache.RenewManagedCertificates(ctx) // never an error: it only queues
				}
			}
			return
		}
		wait, level := retry.next(err)
		c.r.log.Log(ctx, level, "certificate not obtained", "host", name, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// get is the certificate for a client that asks for a host outside the table, ""
// if it names none. It is nil for strangers' names, and until there is one.
func (f *fallback) get(hello *tls.ClientHelloInfo, host string, domain cluster.Hostname) *tls.Certificate {
	own := strings.ToLower(string(domain))
	if own == "" || host != "" && host != own && !strings.HasSuffix(host, "."+own) {
		return nil
	}
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmez.ACMETLS1Protocol {
		return nil
	}
	for _, cert := range f.cache.AllMatchingCertificates(wildcard(domain)) {
		return &cert.Certificate
	}
	return nil
}
