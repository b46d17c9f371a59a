package router

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// errStorage marks failures that say nothing about the issuer.
var errStorage = errors.New("certificate storage cannot be read")

// retry says when a certificate is tried for again.
type retry struct {
	kind            certKind
	servers, orders int // failures so far
}

// next counts a failure. Servers come back within seconds; ACME servers limit
// failed validations: Let's Encrypt allows 5 an hour and host, which the pauses
// of 1, 5, 10, 20, 40 and then 60 minutes just keep.
func (r *retry) next(err error) (time.Duration, slog.Level) {
	if r.kind == kindACME && !errors.Is(err, errStorage) {
		r.orders++
		if r.orders == 1 {
			return time.Minute, slog.LevelWarn
		}
		return min(5*time.Minute<<min(r.orders-2, 8), time.Hour), slog.LevelWarn
	}
	r.servers++
	level := slog.LevelWarn
	if r.servers > 1 {
		level = slog.LevelDebug // said once: a server that is away is reported elsewhere
	}
	return min(200*time.Millisecond<<min(r.servers-1, 8), 15*time.Second), level
}

// edgeIssuerKey names the edge CA's part of the storage.
const edgeIssuerKey = "paas-edge"

// edgeIssuer has certificates signed by the cluster's edge CA.
type edgeIssuer struct{ remote Certificates }

// Issue sends the request to a server.
func (i edgeIssuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	chain, err := i.remote.SignEdge(ctx, csr.Raw)
	if err != nil {
		return nil, fmt.Errorf("sign with the edge CA: %w", err)
	}
	return &certmagic.IssuedCertificate{Certificate: chain}, nil
}

// IssuerKey is constant: all routers of a cluster share one edge CA.
func (edgeIssuer) IssuerKey() string { return edgeIssuerKey }

// acmeIssuer is certmagic's, except that it never asks a terminal for an e-mail
// address.
type acmeIssuer struct{ *certmagic.ACMEIssuer }

// PreCheck is never interactive.
func (i acmeIssuer) PreCheck(ctx context.Context, names []string, _ bool) error {
	return i.ACMEIssuer.PreCheck(ctx, names, false)
}

// newACMEIssuer makes an issuer whose challenges the router's own listeners
// answer: certmagic finds the ports in use and leaves them alone.
func (r *Router) newACMEIssuer(cfg *certmagic.Config, c ACMEConfig, log *zap.Logger) (acmeIssuer, error) {
	template := certmagic.ACMEIssuer{CA: c.Directory, Email: c.Email, Agreed: true, Logger: log}
	if c.CA != "" {
		template.TrustedRoots = x509.NewCertPool()
		if !template.TrustedRoots.AppendCertsFromPEM([]byte(c.CA)) {
			return acmeIssuer{}, fmt.Errorf("ACME CA: no certificate in the PEM text")
		}
	}
	template.ListenHost, template.AltHTTPPort = listenHostPort(r.plain)
	_, template.AltTLSALPNPort = listenHostPort(r.secure)
	return acmeIssuer{certmagic.NewACMEIssuer(cfg, template)}, nil
}

func listenHostPort(l net.Listener) (string, int) {
	host, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.Atoi(port) // a listener's address has one
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	return host, n
}
