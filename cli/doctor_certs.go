package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"paas/cluster"
)

// certFacts is one certificate, as it lies on disk or is shown to callers.
type certFacts struct {
	Of                  string // "the API at 127.0.0.1:7443", "shop.example.com"
	NotBefore, NotAfter time.Time
	Err                 error  // why there is none
	Do                  string // what renews it, or says why it is not renewed
}

// Who renews which certificate, by itself and long before its end.
const (
	renewsNode = "a running server renews it; start it anew: sudo systemctl restart paas (or: paas down && paas up)"
	renewsEdge = "see why the router does not get a new one: sudo journalctl -u paas -g certificate"
	renewsACME = renewsEdge + "\nports 80 and 443 have to be open to the world, and the name has to lead here"
)

// judgeCertificates names those that are not, or not for long, to be trusted.
func judgeCertificates(all []certFacts, now time.Time) []finding {
	var out []finding
	var first time.Time
	for _, c := range all {
		if f := judgeCertificate(c, now); f.State != "ok" {
			out = append(out, f)
		}
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	if out == nil && len(all) > 0 {
		out = append(out, fine("certificates", "certificates looked at: %d; good until %s at least", len(all), first.Format(time.DateOnly)))
	}
	return out
}

// judgeCertificate warns when half of the time that a renewal has is over:
// certificates are renewed at two thirds of their life.
func judgeCertificate(c certFacts, now time.Time) finding {
	bad := func(why, do string, args ...any) finding {
		return broken("certificates", cluster.Errorf(cluster.KindUnavailable, "certificate", "the certificate of %s is not good", c.Of).Because(why, args...).WithHint(do))
	}
	day := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
	left, life := c.NotAfter.Sub(now), c.NotAfter.Sub(c.NotBefore)
	switch {
	case c.Err != nil:
		return bad("%v", c.Do, innermost(c.Err))
	case now.Before(c.NotBefore):
		return bad("it begins at %s, and this clock says %s", "set the clock: sudo timedatectl set-ntp true", day(c.NotBefore), day(now))
	case left <= 0:
		return bad("it expired at %s", "is this clock right? date -u\n"+c.Do, day(c.NotAfter))
	case left < min(life/6, 30*24*time.Hour):
		return warning("certificates", c.Do, "the certificate of %s expires at %s and should have been renewed by now", c.Of, day(c.NotAfter))
	}
	return fine("certificates", "the certificate of %s is good until %s", c.Of, day(c.NotAfter))
}

// certificateOf is what a parsed certificate says.
func certificateOf(of, do string, c *x509.Certificate) certFacts {
	return certFacts{Of: of, Do: do, NotBefore: c.NotBefore, NotAfter: c.NotAfter}
}

// readNodeCertificate reads the certificate of the server whose state lies in
// dir. One that is not there, or not for us to read, is nothing to judge.
func readNodeCertificate(dir string) []certFacts {
	path := filepath.Join(dir, "node", "node.pem")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if block, _ := pem.Decode(data); err == nil && block != nil {
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			return []certFacts{certificateOf("this node", renewsNode, c)}
		}
	} else if err == nil {
		err = errors.New("it is no certificate")
	}
	return []certFacts{{Of: "this node (" + path + ")", Err: err, Do: "bring the file back from where it was copied to; or set the host up anew and restore a backup: paas backup restore --help"}}
}

// serverShown is what a server shows to everybody, before anybody trusts it.
type serverShown struct {
	cert  certFacts
	clock time.Time
	took  time.Duration
}

// probeTimeout is for one handshake. The first one for a host may have to wait for
// its certificate.
const probeTimeout = 5 * time.Second

// probeServer asks the server at url for nothing but its certificate and the time.
// Who it is does not matter: a certificate that is not good any more is what is
// looked for, and nothing is sent.
func probeServer(ctx context.Context, url string) (*serverShown, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/healthz", nil)
	if err != nil {
		return nil, err
	}
	c := &http.Client{Transport: &http.Transport{DialContext: dialLocal, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}} //see above
	began := time.Now()
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	_ = res.Body.Close() // two letters
	out := &serverShown{took: time.Since(began)}
	if out.clock, err = http.ParseTime(res.Header.Get("Date")); err != nil {
		return nil, err
	}
	if res.TLS == nil {
		return nil, errors.New("it speaks no TLS")
	}
	out.cert = certificateOf("the API at "+req.URL.Host, renewsNode, res.TLS.PeerCertificates[0])
	return out, nil
}

// probeHosts asks the routers for the certificates of hosts, all at once. Routers
// that cannot be reached from here are passed over.
func probeHosts(ctx context.Context, hosts []servedHost, port int) []certFacts {
	found := make([]*certFacts, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { found[i] = probeHost(ctx, h, port) })
	}
	wg.Wait()
	var out []certFacts
	for _, f := range found {
		if f != nil {
			out = append(out, *f)
		}
	}
	return out
}

func probeHost(ctx context.Context, h servedHost, port int) *certFacts {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	do := renewsEdge
	if h.tls == "acme" {
		do = renewsACME
	}
	for _, r := range h.routers {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(r.String(), strconv.Itoa(port)))
		if err != nil {
			continue
		}
		// As above: nothing is sent.
		hello := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: string(h.Hostname), MinVersion: tls.VersionTLS12}) //see above
		err = hello.HandshakeContext(ctx)
		_ = conn.Close() // everything was said
		if err != nil {
			return &certFacts{Of: string(h.Hostname), Err: err, Do: do}
		}
		f := certificateOf(string(h.Hostname), do, hello.ConnectionState().PeerCertificates[0])
		return &f
	}
	return nil
}
