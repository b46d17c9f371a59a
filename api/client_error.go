package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"paas/cluster"
)

// unreachable turns a transport's error into one for people. A cancelled ctx is
// the caller's own doing and stays what it is.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if e := (*cluster.Error)(nil); errors.As(err, &e) {
		return err
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, errNoAnswer) && !errors.Is(err, errSilent) {
		return cause
	}
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	unavailable := func(code, format string, args ...any) *cluster.Error {
		return cluster.Errorf(cluster.KindUnavailable, code, format, args...).Wrap(err)
	}
	switch {
	case errors.Is(err, errNoAnswer):
		return unavailable("no_answer", "no answer from the server at %s", c.base.Host).Because("it took too long").
			WithHint("try again")
	case errors.Is(err, errSilent):
		return unavailable("silent", "the server at %s went silent", c.base.Host).WithHint("try again")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired: // or not good yet
		return unavailable("tls_expired", "the certificate of the server at %s is not good now", c.base.Host).
			Because("it is good from %s to %s, and this clock says %s", minute(invalid.Cert.NotBefore), minute(invalid.Cert.NotAfter), minute(time.Now())).
			WithHint("see which of them is wrong: paas doctor")
	case errors.As(err, &verify), errors.As(err, &authority), errors.As(err, &hostname):
		return unavailable("tls_pin", "the server at %s is not the one that you logged in to", c.base.Host).
			Because("its certificate was not signed by the cluster's own authority").
			WithHint("if it was set up anew, log in again: paas login")
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return unavailable("tls", "the server at %s does not speak TLS", c.base.Host).WithHint("check the address and its port")
	}
	if notTheAPI(err) {
		return unavailable("no_server", "what answers at %s is no server", c.base.Host).Because("it knows nothing of the API; the port of an agent is such a one").
			WithHint("give the address of a server; whoever is logged in already sees them all with: paas cluster status")
	}
	return unavailable("unreachable", "cannot reach the server at %s", c.base.Host).Because("%s", rootCause(err)).WithHint(c.startHint())
}

// notTheAPI reports whether the other side speaks TLS, and for other purposes alone.
func notTheAPI(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && op.Err.Error() == "tls: no application protocol"
}

// startHint is what to do about a server that nobody reaches: only one of this host is
// started here.
func (c *Client) startHint() string {
	if ip, err := netip.ParseAddr(c.base.Hostname()); c.base.Hostname() == "localhost" || err == nil && ip.Unmap().IsLoopback() {
		return "is the server running? start it with: paas up"
	}
	return "see whether it runs, and whether this host may connect to that port: a firewall may be between them"
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// broken is unreachable for answers that had begun.
func (c *Client) broken(ctx context.Context, err error) error {
	err = c.unreachable(ctx, err)
	if e := (*cluster.Error)(nil); errors.As(err, &e) && e.Code == "unreachable" {
		return cluster.Errorf(cluster.KindUnavailable, "broken", "the connection to the server at %s broke", c.base.Host).
			Because("%s", rootCause(e.Err)).WithHint("see what became of it with: paas status").Wrap(e.Err)
	}
	return err
}

// rootCause is the innermost error's text: "connection refused", without the
// layers of addresses and verbs around it.
func rootCause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
